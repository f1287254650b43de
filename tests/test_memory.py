"""The memory model against what is counted and measured: parameters, kept tensors, peaks of the real trainer."""

import json
from dataclasses import replace
from itertools import accumulate

import pytest
import torch

from estimate.report import Job
from estimate.timing import time_steps
from models.registry import TINY_FOLDER, lora_config
from sampling.shared_prefix import SharedPrefixCache
from settings.arguments import parse_args
from settings.grpo_config import build_config
from tests.test_lora import qwen2_5_vl_3b
from training.building import build_trainer
from training.preparing import load_data, resolve_data, resolve_defaults
from update import pass_room
from update.memory import (
    Counts,
    Shape,
    Work,
    count_parameters,
    layer,
    memory,
    pass_bytes,
    passes,
    shape_of,
    update,
)
from update.packing import Row
from update.rollout_memory import CHOICE_BYTES, fixed_buffers, kept, rollout, room

TINY = ["--vlm-name", "tiny", "--dataset-name", "synthetic", "--subset-size", "20", "--report-to", "none"]


def resolved(line, *more):
    args = parse_args([*line.split(), *TINY, *more])
    resolve_data(args)
    resolve_defaults(args)
    return args


# Parameters


@pytest.fixture(scope="module")
def config():
    return qwen2_5_vl_3b()


def test_parameters_of_the_3b_model_are_exact_with_and_without_an_adapter(config):
    lora, whole = count_parameters(config, lora_config(config)), count_parameters(config)
    assert lora.total == whole.total == whole.trained == 3_754_622_976
    assert lora.trained == 14_966_784 and lora.vision == 668_684_288 and lora.shares_prompts
    of_layer = 2 * 2048 * 2048 + 2048 + 2 * (2048 * 256 + 256) + 3 * 2048 * 11008 + 2 * 2048
    assert lora.layers == 36 * of_layer
    assert lora.adapted == 36 * (of_layer - 2048 - 512 - 2 * 2048)  # every projection, neither biases nor norms
    assert lora.total == lora.layers + lora.vision + 151936 * 2048 + 2048, "embedding, shared with the head, and a norm"


def test_weights_gradients_and_optimiser_of_the_3b_model_by_hand(config):
    """Two bytes a frozen weight; float32 for what is trained; under ZeRO-3 18 bytes a weight over the processes."""
    counts, work = count_parameters(config, lora_config(config)), work_of(weight_bytes=2, compute_bytes=2, on_gpu=True)
    shape = shape_of(config)
    found = memory(shape, counts, work)
    assert found.weights == 2 * 3_754_622_976 + 4 * 14_966_784
    assert (found.gradients, found.optimiser) == (4 * 14_966_784, 8 * 14_966_784)
    assert memory(shape, counts, replace(work, moments=0)).optimiser == 0
    whole = count_parameters(config)
    found = memory(shape, whole, work_of(rank=0, weight_bytes=2, compute_bytes=2, processes=4, zero=3))
    assert found.weights + found.gradients + found.optimiser == (2 + 2 + 4 + 4 + 8) * 3_754_622_976 / 4
    reference = memory(shape, whole, work_of(rank=0, weight_bytes=4, reference=True))
    assert reference.weights == 2 * 4 * 3_754_622_976


# Tensors of one packed pass


def work_of(**changes) -> Work:
    settings = {
        "prompt": 60, "patches": 64, "patch_width": 1176, "completion": 40, "batch": 4, "accumulation": 1, "updates": 1,
        "generations": 4, "rank": 8, "checkpointing": False, "packed": True, "repacked": True, "reference": False,
        "engine": True, "weight_bytes": 4, "compute_bytes": 4, "on_gpu": False,
    }  # fmt: skip
    return Work(**{**settings, **changes})


def peak_bytes(function) -> int:
    """The most bytes of CPU memory that PyTorch's allocator held during `function`, above what it held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def tiny_trainer(folder, line):
    """The real trainer of these flags, the flags and the questions."""
    args = resolved(line)
    train, held_out = load_data(args)
    config = build_config(args, folder, "fp32", False)
    return build_trainer(args, config, train, replace(held_out, questions=[])), args, train.questions


@pytest.mark.parametrize(
    ("flag", "checkpointed"),
    [("", False), ("", True), ("--disable-gradient-checkpointing", False), ("--plain-update", True)],
)
def test_the_estimated_peak_of_an_update_is_what_the_real_trainer_takes(flag, checkpointed, tmp_path, monkeypatch):
    """Every completion at the length limit, through the trainer's packing: within 0.8 and 1.25 of the measured peak."""
    if checkpointed:
        monkeypatch.setattr(pass_room, "is_known", lambda trainer: False)
    trainer, args, questions = tiny_trainer(tmp_path, f"--mode nsr --max-completion-length 48 {flag}")
    step, peaks = trainer.training_step, []

    def watched(*inputs):
        if trainer._step % args.gradient_accumulation_steps == 0:  # the first one samples
            return step(*inputs)
        results = []
        peaks.append(peak_bytes(lambda: results.append(step(*inputs))))
        return results[0]

    trainer.training_step = watched
    time_steps(trainer, [48])
    job = Job(args, questions)
    images = job.work(args).prompts_in_rollout * job.work(args).image_bytes
    estimated = job.memory(args, least=checkpointed).update - images
    assert 0.8 < estimated / peaks[-1] < 1.25, (estimated, peaks)


@pytest.mark.parametrize(("rank", "autocast"), [(8, False), (0, False), (8, True), (0, True)])
def test_the_tensors_that_layers_keep_are_those_of_a_packed_forward(rank, autocast):
    """What two more layers keep of twice the tokens: the formula within 5 %. Copies of weights drop out of it."""
    work, shape = work_of(rank=rank, weight_bytes=2 if autocast and rank else 4), shape_of(small_config(2))
    work = replace(work, compute_bytes=2 if autocast else 4)
    grown = [saved_bytes(layers, tokens, rank, autocast) for tokens in (40, 80) for layers in (2, 4)]
    measured = (grown[3] - grown[2]) - (grown[1] - grown[0])
    small, large = (layer(shape, replace(work, prompt=n, completion=n), packed_rows(n)) for n in (40, 80))
    assert 2 * (large - small) == pytest.approx(measured, rel=0.05)


def packed_rows(tokens):
    return [Row(i, 0, tokens, tokens) for i in range(4)]


def small_config(layers):
    from transformers import Qwen2_5_VLConfig

    config = json.loads((TINY_FOLDER / "config.json").read_text())
    config["text_config"].update(num_hidden_layers=layers, layer_types=["full_attention"] * layers)
    return Qwen2_5_VLConfig(**config)


def saved_bytes(layers, tokens, rank, autocast):
    """Bytes kept for the backward pass of four packed completions of a small Qwen2.5-VL, parameters left out."""
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText
    from trl.trainer.utils import add_fused_lm_head

    from update import shared_prefix

    config = small_config(layers)
    dtype = torch.bfloat16 if autocast and rank else torch.float32
    model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    add_fused_lm_head(model)
    shared_prefix.enable(model)
    model = get_peft_model(model, lora_config(config, r=rank)) if rank else model
    model.train()
    ids = torch.randint(20, 400, (1, 5 * tokens - 1), generator=torch.Generator().manual_seed(0))
    inputs = {
        "input_ids": ids,
        "shift_labels": ids[:, tokens - 1 :],
        "position_ids": torch.arange(5 * tokens - 1).expand(3, 1, -1),
        "packed_row": shared_prefix.lay_out([tokens - 1], [[tokens] * 4], torch.device("cpu")),
    }
    weights = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        model(**inputs, fused_lm_head=True)
    return sum(storage.nbytes() for key, storage in kept.items() if key not in weights)


def test_the_rollouts_cache_is_the_sampling_engines_own():
    """Two prompts of 20 tokens, six completions of up to 100: keys and values as the engine allocates them."""
    config, rows, limit = small_config(4), 8, 100
    shape = shape_of(config)
    heads, width = config.text_config.num_key_value_heads, shape.key_value // config.text_config.num_key_value_heads
    prefixes = [[(torch.zeros(1, heads, 20, width),) * 2] * 4 for _ in range(2)]
    cache = SharedPrefixCache(prefixes, torch.arange(rows) // 4, limit)
    sizes = [cache.suffix.nbytes]
    while cache.steps < limit:
        cache.begin_step()
        sizes.append(cache.suffix.nbytes)
    sizes = sorted({*sizes})
    of_token = 4 * 2 * shape.key_value * shape.layers
    assert room(limit) * rows * of_token == sizes[-1] + sizes[-2]
    assert sum(part.nbytes for layer_of in cache.prefix for part in layer_of) == 2 * 20 * of_token


@pytest.mark.parametrize("limit", [40, 100])
def test_the_fixed_steps_buffers_are_those_of_the_formula(limit):
    """Two prompts of 300 tokens, eleven completions of each: within 5 % of what a decoder allocates."""
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    from sampling import static_step
    from sampling.engine import Request, decode
    from sampling.prefill import prefill
    from sampling.settings import SamplingSettings

    config = small_config(4)
    adapter = lora_config(config, r=8)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval()
    model = get_peft_model(model, adapter).get_base_model()
    counts = count_parameters(config, adapter)
    assert counts.fixed_steps
    prompts = [prefill(model, {"input_ids": torch.full((1, 300), token)}) for token in (30, 40)]
    requests = [Request(prompt, str(n), range(11)) for n, prompt in enumerate(prompts)]
    options = {"settings": SamplingSettings(max_new_tokens=limit), "eos_ids": [-1], "entropies": True}
    decode(model, requests, static=True, **options)
    taken, inside = static_step.held_bytes(model)
    work = work_of(prompt=300, completion=limit, batch=22, accumulation=1, generations=11, rank=8, on_gpu=True)
    shape = shape_of(config)
    expected = fixed_buffers(shape, work) - 24 * shape.vocabulary * CHOICE_BYTES  # of the graphs' pool: there is none
    assert not inside and expected == pytest.approx(taken, rel=0.05)


def test_what_decoding_keeps_counts_beside_the_update_where_it_stays():
    work = work_of(on_gpu=True, prompt=600, completion=200, accumulation=8, batch=8)
    counts = replace(COUNTS, fixed_steps=True)
    found, buffers = memory(SHAPE, counts, work), fixed_buffers(SHAPE, work)
    assert found.kept == buffers > 0 and found.rollout > buffers
    stays = found.weights + found.gradients + found.optimiser
    assert found.peak == stays + max(found.update + buffers, found.rollout)
    given_back = [{"card": 7.9 * buffers}, {"zero": 3}, {"least": True, "packed": True, "repacked": True}]
    for changed in (*given_back, {"on_gpu": False}, {"weight_bytes": 2, "compute_bytes": 4}, {"engine": False}):
        assert kept(SHAPE, counts, replace(work, **changed)) == 0, changed
    assert kept(SHAPE, counts, replace(work, card=8.1 * buffers)) == buffers and kept(SHAPE, COUNTS, work) == 0
    assert rollout(SHAPE, COUNTS, work) != rollout(SHAPE, counts, work)


def test_the_passes_are_the_trainers_packing():
    """G = 4, batch 2: two completions and their prompt in each of two passes; alone, every row brings its prompt."""
    packed = work_of(batch=2, accumulation=2)
    assert [[row.index for row in part] for part in passes(packed)] == [[0, 1], [2, 3]]
    assert update(SHAPE, COUNTS, packed) < update(SHAPE, COUNTS, replace(packed, packed=False))
    assert update(SHAPE, COUNTS, replace(packed, checkpointing=True)) == update(SHAPE, COUNTS, packed), (
        "TRL's takes more"
    )
    sharded = replace(packed, zero=2)
    assert update(SHAPE, COUNTS, replace(sharded, checkpointing=True)) < update(SHAPE, COUNTS, sharded), (
        "as it is asked for"
    )


SHAPE = Shape(4, 128, 128, 64, 384, 473, 3, 128, 256)
COUNTS = Counts(1_823_872, 974_720, 500_000, 786_432, 77_824, 700_000, True)


@pytest.mark.parametrize(("prompts_a_pass", "gibibytes"), [(2, 9.0), (8, 11.3)])
def test_the_formulas_give_the_peak_that_an_h200_had(prompts_a_pass, gibibytes, config):
    """64 completions of 80 tokens on average and 128 at most, 8 of each prompt of 600 tokens, 324 of them its image's;
    the 3B shape in bf16 with LoRA and checkpointing. Measured over rollouts and updates, within 15 %."""
    work = work_of(
        prompt=600, patches=1296, completion=128, batch=8, accumulation=8, generations=8, checkpointing=True,
        on_gpu=True, weight_bytes=2, compute_bytes=2,
    )  # fmt: skip
    shape, counts = shape_of(config), count_parameters(config, lora_config(config))
    found = memory(shape, counts, work)
    rows = [Row(i, i // 8, 600, 80) for i in range(8 * prompts_a_pass)]
    taken = pass_bytes(shape, counts, work, rows) + 8 * work.image_bytes
    stays = found.weights + found.gradients + found.optimiser
    assert stays + max(taken, found.rollout) == pytest.approx(gibibytes * 2**30, rel=0.15)
