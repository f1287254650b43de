"""Decoding in steps of fixed shape against the model's own layers: same tokens, same log-probabilities.

Nothing here needs a GPU: the step that is captured there runs uncaptured on the CPU.
"""

import copy
import itertools

import pytest
import torch
from peft import LoraConfig, get_peft_model

from models.registry import lora_config
from sampling import engine, static_run, static_step, token_sampling
from sampling.batch import Request
from sampling.engine import decode
from sampling.known_layers import refusal
from sampling.prefill import prefill
from sampling.settings import SamplingSettings
from sampling.sizes import prompt_room
from tests.families import FAMILIES, make_family
from tests.test_families_train import family_trainer, rollout
from tests.test_sampling_engine import EOS, MARKERS, full_logprobs, inputs_for

PROMPTS = ((112, "a"), (56, "bb b"), (None, "c c"))  # of 40, 25 and 15 tokens or so
PLAIN = SamplingSettings(max_new_tokens=20)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return make_family(request.param)


@pytest.fixture(scope="module")
def qwen():
    return make_family("qwen2_5_vl")


def adapted(model, seed: int = 0, **changed):
    """The model with an adapter that matters."""
    made = get_peft_model(model, lora_config(model.config) if not changed else LoraConfig(**changed))
    move(made, seed)
    return made.eval()


def move(model, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)


def requests_of(model, processor, *rows: int, first: int = 0) -> list[Request]:
    """So many completions of each prompt, computed by the model as it is now."""
    wanted = zip(PROMPTS, rows, strict=False)
    return [
        Request(
            prefill(model, engine.on(model.device, inputs_for(processor, side=side, text=text))),
            text,
            range(first, first + n),
        )
        for (side, text), n in wanted
    ]


def both(model, requests, settings=PLAIN, **changed):
    options = {"settings": settings, "eos_ids": EOS, "suppress": MARKERS, "entropies": True} | changed
    return decode(model, requests, static=False, **options), decode(model, requests, static=True, **options)


def assert_same(expected, found, tolerance: float = 2e-5) -> None:
    for one, other in zip(expected, found, strict=True):
        assert one.token_ids == other.token_ids and one.truncated == other.truncated
        for name in ("logprobs", "entropies") if one.entropies else ("logprobs",):
            for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
                assert a == pytest.approx(b, abs=tolerance)


def shapes(model) -> list[tuple[int, int]]:
    """(rows, room) of every step's shape so far."""
    return [(key[1], key[2]) for key in static_step.decoder_of(engine.base_model(model)).graphs]


# The same samples


@pytest.mark.parametrize("rows", [(1,), (7,), (24, 9, 30), (300,)], ids=str)
@pytest.mark.parametrize("adapter", [False, True], ids=["plain", "lora"])
def test_every_family_draws_what_its_own_layers_draw(family, rows, adapter):
    model, processor = family
    if adapter:
        model = adapted(copy.deepcopy(model))
    assert refusal(engine.base_model(model)) is None
    assert_same(*both(model, requests_of(model, processor, *rows)))


def test_a_nucleus_and_a_temperature_cut_the_same(family):
    model, processor = family
    settings = SamplingSettings(temperature=0.6, top_p=0.9, top_k=60, max_new_tokens=20)
    assert_same(*both(model, requests_of(model, processor, 10, 10, 10), settings))


def test_a_sample_does_not_depend_on_the_rows_beside_it(qwen):
    model, processor = qwen
    options = {"settings": PLAIN, "eos_ids": EOS, "static": True}
    together = decode(model, requests_of(model, processor, 40), **options)[0]
    alone = decode(model, requests_of(model, processor, 3, first=17), **options)[0]
    assert alone.token_ids == together.token_ids[17:20]


def test_the_next_rollout_reads_the_adapters_new_values(qwen):
    model = adapted(copy.deepcopy(qwen[0]))
    drawn = []
    for seed in (1, 2):
        move(model, seed)
        expected, found = both(model, requests_of(model, qwen[1], 12, 12))
        assert_same(expected, found)
        drawn.append([part.token_ids for part in found])
        decoder = static_step.decoder_of(model.get_base_model())
        known = len(decoder.graphs)
    assert drawn[0] != drawn[1]
    assert_same(*both(model, requests_of(model, qwen[1], 12, 12)))
    assert static_step.decoder_of(model.get_base_model()) is decoder and len(decoder.graphs) == known  # nothing moved


def test_what_stood_in_the_buffers_before_does_not_matter(qwen):
    model = adapted(copy.deepcopy(qwen[0]))
    settings = SamplingSettings(max_new_tokens=70)
    for rows in ((33, 20), (9, 8)):
        expected, found = both(model, requests_of(model, qwen[1], *rows), settings, eos_ids=EOS[:5])
        assert_same(expected, found)
        for buffer in static_step.decoder_of(model.get_base_model()).buffers._flat.values():
            buffer.fill_(torch.nan if buffer.is_floating_point() else 1)


def test_weights_that_have_moved_make_a_new_decoder(qwen):
    model = copy.deepcopy(qwen[0])
    assert_same(*both(model, requests_of(model, qwen[1], 9)))
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            parameter.data = parameter.data * 1.2
    assert_same(*both(model, requests_of(model, qwen[1], 9)))


@pytest.mark.parametrize(
    "changed",
    [{"target_modules": ["q_proj", "down_proj"], "r": 3}, {"target_modules": ["v_proj", "up_proj"], "r": 16},
     {"target_modules": ["o_proj", "gate_proj"], "lora_alpha": 3, "lora_dropout": 0.5}],
    ids=str,
)  # fmt: skip
def test_adapters_of_some_projections_and_of_any_rank_count(changed):
    model, processor = make_family("qwen3_vl")
    model = adapted(
        model, **changed | {"target_modules": f"model.language_model.*({'|'.join(changed['target_modules'])})"}
    )
    assert_same(*both(model, requests_of(model, processor, 12, 5)))
    with model.disable_adapter():
        assert_same(*both(model, requests_of(model, processor, 12, 5)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_close_to_float32(qwen, dtype):
    assert half_precision_gap(qwen[1], dtype, "cpu") < {torch.bfloat16: 0.02, torch.float16: 0.003}[dtype]


def half_precision_gap(processor, dtype: torch.dtype, device: str) -> float:
    """Mean absolute difference between log-probabilities of tokens drawn in `dtype` and those float32 gives them."""
    half = adapted(make_family("qwen2_5_vl", dtype=dtype)[0]).to(device)
    options = {"settings": PLAIN, "eos_ids": [], "suppress": MARKERS}
    found = decode(half, requests_of(half, processor, 8, 8), **options, static=True)
    exact = replayed(adapted(make_family("qwen2_5_vl")[0]), found)
    drawn = [row for part in found for row in part.logprobs]
    return (torch.tensor(drawn) - torch.tensor(exact)).abs().mean().item()


def replayed(model, samples) -> list[list[float]]:
    """Log-probabilities of these samples' tokens by the model's own layers."""
    processor = make_family("qwen2_5_vl")[1]
    inputs = [inputs_for(processor, side=side, text=text) for side, text in PROMPTS]
    return [
        full_logprobs(model, one, ids, PLAIN, MARKERS).tolist()
        for one, part in zip(inputs, samples, strict=False)
        for ids in part.token_ids
    ]


def test_a_trainers_rollouts_are_the_same_and_its_adapter_is_not_merged(family, tmp_path, monkeypatch, request):
    from update import rollouts

    name = request.node.callspec.params["family"]
    options = {"dtype": torch.float32, "gradient_checkpointing": True, "config": {"beta": 0.04}}
    expected = rollout(family_trainer(name, tmp_path, **options)[0])
    monkeypatch.setattr(engine, "decodes_static", lambda model: True)
    monkeypatch.setattr(rollouts, "decodes_static", lambda model: True)
    trainer = family_trainer(name, tmp_path, **options)[0]
    model = engine.base_model(trainer.model)
    for _ in range(2):
        assert refusal(model) is None  # what a trainer hooks into a model is no hindrance
        found = rollout(trainer)
        assert torch.equal(found["completion_ids"], expected["completion_ids"])
        torch.testing.assert_close(found["rollout_entropy"], expected["rollout_entropy"], rtol=0, atol=2e-5)
        decoder = static_step._decoders[model]
        assert all(layer.low is not None and layer.down_low is not None for layer in decoder.layers.layers)


# Shapes


def test_ended_rows_leave_and_the_room_doubles(qwen):
    model, processor = copy.deepcopy(qwen[0]), qwen[1]
    settings = SamplingSettings(max_new_tokens=150)
    expected, found = both(model, requests_of(model, processor, 60, 13), settings, eos_ids=EOS[:6])
    assert_same(expected, found)
    visited = shapes(model)
    rows, rooms = zip(*visited, strict=True)
    assert rows[0] == 80 and len(set(rows)) > 3 and list(rows) == sorted(rows, reverse=True)
    assert set(rows) - {80} <= set(static_step.sizes(80)) and sorted(set(rooms)) == [64, 128, 256]


def test_a_nucleus_too_wide_for_the_quick_search_is_noticed_and_done_again(qwen, monkeypatch):
    model, processor = copy.deepcopy(qwen[0]), qwen[1]
    settings = SamplingSettings(top_p=0.6, temperature=0.7, max_new_tokens=40)
    monkeypatch.setattr(token_sampling, "_TRIES", (4, 8))
    again = []
    monkeypatch.setattr(static_run.Run, "again", lambda run, real=static_run.Run.again: (again.append(1), real(run)))
    for every in (3, 8):
        expected, found = both(model, requests_of(model, processor, 20, 11), settings, look_every=every)
        assert_same(expected, found)
    assert len(again) == 2  # once a call: then it sorts


def test_sizes_are_few():
    assert static_step.sizes(300) == [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 300]
    assert [prompt_room(n) for n in (1, 256, 257, 600, 1025, 2049)] == [256, 256, 512, 768, 1280, 2560]


def test_the_host_reads_the_device_in_at_most_one_step_of_eight(qwen, monkeypatch):
    model, processor = qwen
    requests = requests_of(model, processor, 30, 30)
    reads, steps = [], []
    for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *a, real=real, **k: (reads.append(len(steps)), real(*a, **k))[1])
    step = static_run.Run.step
    monkeypatch.setattr(static_run.Run, "step", lambda run: (step(run), steps.append(1)))
    decode(model, requests, settings=SamplingSettings(top_p=0.95, max_new_tokens=80), eos_ids=[2], static=True)
    within = {at for at in reads if 0 < at < 79}  # not the set-up and the result
    assert len(steps) == 79 and 8 <= len(within) <= 10
    assert all(later - earlier >= 7 for earlier, later in itertools.pairwise(sorted(within)))
