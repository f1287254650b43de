"""A base model in 4 bits: the same engines on it as on full weights, and what a run and its samples say of it."""

import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file

import main
from checkpoints import merge
from checkpoints.finding import find_checkpoint, load
from models import four_bit
from models.registry import TINY_FOLDER, load_config, load_model, lora_config
from sampling import engine
from sampling.hf_generate import generate
from sampling.known_layers import refusal
from sampling.settings import SamplingSettings
from settings.arguments import parse_args
from tests import after_run
from tests.commands import ROOT
from tests.families import FAMILIES, make_family
from tests.test_memory import work_of
from tests.test_packed_update import Gradients, gap
from tests.test_sampling_engine import EOS, MARKERS, draw, full_logprobs, inputs_for
from tests.test_static_step import assert_same, both, move, requests_of
from training.building import build_trainer
from training.preparing import prepare
from update.memory import count_parameters, memory, shape_of

bitsandbytes = pytest.importorskip("bitsandbytes", reason="a base in 4 bits needs bitsandbytes")
SHORT = after_run.SHORT.replace("--held-out 0", "--held-out 0 --base-4bit")


def quantised(family, folder):
    """A small random model of the family, saved and loaded in 4 bits, with an adapter that matters."""
    full, processor = make_family(family, hidden=64)
    full.save_pretrained(folder)
    model = get_peft_model(load_model(str(folder), base_4bit=True), lora_config(full.config))
    move(model, 0)
    return model.eval(), processor, full


OFTEN = ("qwen2_5_vl", "internvl")  # the others with the slow tests


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in FAMILIES],
)
def family(request, tmp_path_factory):
    return quantised(request.param, tmp_path_factory.mktemp("model"))


def plain_weights(model):
    """The same numbers in layers of PyTorch's own: every 4-bit weight as what it stands for."""
    plain = copy.deepcopy(model)
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if type(child) is bitsandbytes.nn.Linear4bit:
                linear = torch.nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                linear.weight.data = four_bit.full_weight(child)
                if child.bias is not None:
                    linear.bias.data = child.bias.data
                setattr(module, name, linear)
    return plain


def test_the_language_models_projections_alone_are_quantised(family):
    model, _, full = family
    layers = {name for name, part in model.get_base_model().named_modules() if four_bit.is_quantised(part)}
    pattern = "language_model.layers."
    expected = {name for name, part in full.named_modules() if isinstance(part, torch.nn.Linear) and pattern in name}
    assert {name.replace(".base_layer", "") for name in layers} == expected and len(expected) == 14
    taken = sum(part.weight.nbytes for _, part in model.named_modules() if four_bit.is_quantised(part))
    assert 2 * taken == sum(full.get_submodule(name).weight.numel() for name in expected)


def test_the_models_numbers_are_those_of_the_weights_that_4_bits_stand_for(family):
    model, processor, full = family
    inputs = inputs_for(processor)
    found, plain = model(**inputs).logits, plain_weights(model)(**inputs).logits
    assert (found - plain).abs().max() < 1e-5 * plain.abs().max()
    weights = [part.model.language_model.layers[0].mlp.up_proj for part in (full, model.get_base_model())]
    before, after = weights[0].weight, four_bit.full_weight(weights[1].base_layer)
    assert 0.05 < (after - before).norm() / before.norm() < 0.12, "what 4 bits of a normal distribution lose"


def test_the_engine_draws_what_transformers_draws(family):
    model, processor, _ = family
    inputs = inputs_for(processor)
    greedy = SamplingSettings(top_k=1, max_new_tokens=20)
    ours = draw(model, inputs, greedy, n=2)
    theirs = generate(model, inputs, n=2, settings=greedy, problem_id="p", eos_ids=EOS, suppress=MARKERS)
    assert ours.token_ids == theirs.token_ids
    settings = SamplingSettings(temperature=0.8, max_new_tokens=20)
    drawn = draw(model, inputs, settings, n=9)
    for ids, logprobs in zip(drawn.token_ids, drawn.logprobs, strict=True):
        expected = full_logprobs(model, inputs, ids, settings, MARKERS)
        torch.testing.assert_close(torch.tensor(logprobs), expected, rtol=0, atol=2e-5)
    assert draw(model, inputs, settings, n=9, chunk=4) == drawn


def test_the_fixed_step_draws_what_its_own_layers_draw(family):
    model, processor, _ = family
    assert refusal(engine.base_model(model)) is None
    for seed in (0, 1):  # the next rollout reads the adapters' new values
        move(model, seed)
        assert_same(*both(model, requests_of(model, processor, 24, 9, 30)))


def gradients(folder, *flags):
    """The gradient of a run's first step: nothing in it is random but the seed."""
    args = parse_args(
        [*SHORT.split(), *flags, "--mode", "w-reinforce", "--output-root", str(folder), "--max-steps", "1"]
    )
    config, questions, held_out, *_ = prepare(args)
    trainer = build_trainer(args, config, questions, held_out)
    move(trainer.model, 0)
    noted = Gradients()
    trainer.add_callback(noted)
    trainer.reward_funcs[0] = lambda completions, **columns: [float(row % 3 == 0) for row in range(len(completions))]
    trainer.train()
    return noted.steps[0], trainer


def test_the_packed_update_has_the_plain_updates_gradient(tmp_path):
    packed, trainer = gradients(tmp_path / "packed", "--rollouts", "engine")
    plain, _ = gradients(tmp_path / "plain", "--plain-update")
    assert trainer.shares_prompts and plain.norm() > 0 and gap(packed, plain) < 1e-4
    kinds = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert kinds == {torch.float32}, "adapters are trained in float32, also where TRL rounds them"
    assert {name for name, part in trainer.model.named_modules() if four_bit.is_quantised(part)}


def test_the_estimate_counts_the_bytes_that_the_weights_take():
    model = load_model("tiny", base_4bit=True)
    states = [part.weight.quant_state for part in model.modules() if four_bit.is_quantised(part)]
    taken = sum(p.nbytes for p in model.parameters())
    taken += sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    config = load_config("tiny")
    work = replace(work_of(), base_4bit=True, rank=0)
    assert memory(shape_of(config), count_parameters(config), work).weights == pytest.approx(taken, rel=0.01)


# A run and what is made of it


def train(folder, *more) -> int:
    return main.main([*SHORT.split(), "--mode", "nsr", "--vlm-name", "tiny", "--output-root", str(folder), *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "--save-steps", "1") == 0
    return folder / f"tiny-{after_run.NAME}-nsr-7"


def test_a_run_says_so_and_is_sampled_on_the_base_that_it_was_trained_on(run, tmp_path, capsys):
    assert json.loads((run / "training_settings.json").read_text())["settings"]["base_4bit"]
    assert "on a base in 4 bits (NF4)" in (run / "README.md").read_text()
    checkpoint = find_checkpoint(str(run))
    model = load(checkpoint, dtype="float32", device="cpu")
    assert checkpoint.base_4bit and any(map(four_bit.is_quantised, model.modules()))
    assert after_run.sample(run, tmp_path / "run.json") == 0
    assert after_run.sample("tiny", tmp_path / "base.json", "--base-4bit") == 0
    assert after_run.sample("tiny", tmp_path / "full.json") == 0
    known = [json.loads((tmp_path / f"{name}.settings.json").read_text())["model"] for name in ("run", "base", "full")]
    assert [model.get("base_4bit", False) for model in known] == [True, True, False] and not known[0]["merged"]
    code = after_run.sample(run, tmp_path / "merged.json", "--merge-adapter", "yes")
    assert "nothing can be added" in after_run.refused(capsys, code)


def test_merging_adds_to_the_full_weights_and_says_so(run, tmp_path, capsys):
    assert merge.main([str(run), str(tmp_path / "merged")]) == 0
    assert "trained on a base in 4 bits and is added to the full weights" in capsys.readouterr().out
    merged = find_checkpoint(str(tmp_path / "merged"))
    model = load(merged, dtype="float32", device="cpu")
    assert not merged.base_4bit and not any(map(four_bit.is_quantised, model.modules()))
    assert (after_run.logits(model) - after_run.logits(after_run.adapted(run))).abs().max() < 1e-4


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path):
    assert train(tmp_path, "--save-steps", "1", "--max-steps", "1") == 0
    assert train(tmp_path, "--save-steps", "1", "--resume") == 0
    after_run.same_weights(run.parent, tmp_path)


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    """Each has the whole base, as on two cards; the gradients of the adapters are averaged."""
    descent = ["--optimiser", "sgd", "--learning-rate", "1"]  # Adam makes a step of a rounding error
    descent += ["--updates-per-rollout", "1"]  # of several, processes divide a rollout batch otherwise
    assert train(tmp_path / "one", *descent) == 0
    line = [*SHORT.replace("--batch-size 4", "--batch-size 2").split(), "--mode", "nsr", "--vlm-name", "tiny", *descent]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, str(ROOT / "main.py"), *line, "--output-root", str(tmp_path / "two")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(next(tmp_path.glob(f"{name}/*/adapter_model.safetensors"))) for name in ("one", "two"))
    moved = max(value.abs().max() for name, value in one.items() if "lora_B" in name)
    apart = max((value - two[name]).abs().max() for name, value in one.items())
    assert one.keys() == two.keys() and moved > 1e-3 and apart < 1e-5, (moved, apart)


def test_a_second_stage_stays_on_the_base_of_the_first(run, tmp_path, capsys):
    line = [*after_run.SHORT.split(), "--mode", "psr", "--output-root", str(tmp_path), "--vlm-name", str(run)]
    args = parse_args([*line, "--kl-beta", "0.1"])
    config, questions, held_out, *_ = prepare(args)
    trainer = build_trainer(args, config, questions, held_out)
    assert args.base_4bit and any(map(four_bit.is_quantised, trainer.model.modules()))
    first = load(find_checkpoint(str(run)), dtype="float32", device="cpu")
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    known = dict(first.named_parameters())
    assert trained and all(torch.equal(p, known[name]) for name, p in trained.items()), "not rounded on the way"
    full = [*after_run.SHORT.split(), "--mode", "nsr", "--vlm-name", "tiny", "--output-root", str(tmp_path)]
    assert main.main(full) == 0
    there = tmp_path / f"tiny-{after_run.NAME}-nsr-7"
    code = main.main([*line[:-1], str(there), "--base-4bit"])
    assert "was trained on a base in full, and is trained further on it" in after_run.refused(capsys, code)
    code = after_run.sample(there, tmp_path / "s.json", "--base-4bit")
    assert "contradicts" in after_run.refused(capsys, code)


# What is refused, before a model is loaded


def test_full_training_and_sharing_launchers_are_refused(tmp_path, monkeypatch, capsys):
    assert "--base-4bit is not used with --no-lora" in after_run.refused(capsys, train(tmp_path, "--no-lora"))
    for kind in ("DEEPSPEED", "FSDP"):
        with monkeypatch.context() as told:
            told.setenv(f"ACCELERATE_USE_{kind}", "true")
            assert "launch without either" in after_run.refused(capsys, train(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_missing_or_old_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(four_bit, "LEAST", (999, 0))
    assert "bitsandbytes, 999.0 or later, this is 0." in after_run.refused(capsys, train(tmp_path))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "which is not installed: pip install" in after_run.refused(capsys, train(tmp_path))
    code = after_run.sample("tiny", tmp_path / "s.json", "--base-4bit")
    assert "which is not installed: pip install" in after_run.refused(capsys, code)


@pytest.mark.parametrize(
    ("found", "old"), [("0.50rc1", False), ("0.50.0.dev0", False), ("1.0", False), ("0.49.2", True)]
)
def test_a_version_need_not_be_numbers_alone(monkeypatch, found, old):
    monkeypatch.setattr(four_bit, "version", lambda name: found)
    if not old:
        four_bit.check_package()
        return
    with pytest.raises(ValueError, match=f"bitsandbytes, 0.50 or later, this is {found}"):
        four_bit.check_package()


def test_a_model_whose_rows_are_no_whole_blocks_is_refused():
    with pytest.raises(ValueError, match="are 32 wide, which is no multiple of 64"):
        four_bit.check_shape("small", make_family("qwen2_vl")[0].config)


def test_a_model_that_is_stored_quantised_is_refused(tmp_path, capsys):
    load_model("tiny", base_4bit=True).save_pretrained(tmp_path / "stored")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        (tmp_path / "stored" / name).write_bytes((TINY_FOLDER / name).read_bytes())
    line = [*after_run.SHORT.split(), "--mode", "nsr", "--output-root", str(tmp_path)]
    code = main.main([*line, "--vlm-name", str(tmp_path / "stored")])
    assert "its weights are stored quantised (bitsandbytes)" in after_run.refused(capsys, code)
