"""A second stage from a trained adapter, and the adapter merged into its base model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from models.registry import TINY_FOLDER
from settings.arguments import parse_args
from tests.after_run import (
    NAME,
    SHORT,
    adapted,
    base_model,
    check_metadata,
    logits,
    refused,
    same_weights,
    sample,
    samples,
    train,
)
from training.building import build_trainer
from training.preparing import prepare, resolve_data, resolve_defaults


def trainer_of(tmp_path, line, *more):
    args = parse_args([*SHORT.split(), *line.split(), *map(str, more), "--output-root", str(tmp_path)])
    config, questions, held_out, *_ = prepare(args)
    return build_trainer(args, config, questions, held_out)


def test_a_second_stage_starts_from_the_very_adapter_of_the_first(runs, tmp_path):
    trainer = trainer_of(tmp_path, "--mode psr --vlm-name", runs["lora"], "--kl-beta", 0.1)
    expected = logits(adapted(runs["lora"]))
    assert (logits(trainer.model) - expected).abs().max() < 1e-5
    assert (expected - logits(base_model())).abs().max() > 1e-3, "the first stage has moved something"
    trainer.model.set_adapter("ref")  # what the KL term compares with
    assert (logits(trainer.model) - expected).abs().max() < 1e-5


def test_the_kl_term_of_a_second_stage_is_zero_at_its_start(runs, tmp_path):
    assert train(tmp_path, "--mode nsr --vlm-name", runs["lora"], "--kl-beta", 0.1) == 0
    run = tmp_path / f"{runs['lora'].name}-{NAME}-nsr-7"
    log = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert log[0]["kl"] == pytest.approx(0, abs=1e-7) and log[1]["kl"] > 1e-6
    assert not list(run.rglob("ref")), "the start is in the first run folder and not saved again"


def test_a_second_stage_in_bfloat16_leaves_the_weights_of_the_base_model_alone(runs):
    from checkpoints.finding import find_checkpoint
    from training.starting import with_adapter

    base = AutoModelForImageTextToText.from_pretrained(TINY_FOLDER, dtype=torch.bfloat16)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = with_adapter(base, find_checkpoint(str(runs["lora"])), zero3=False)
    after = {name.replace(".base_layer", ""): value for name, value in model.get_base_model().state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    saved = load_file(runs["lora"] / "adapter_model.safetensors")
    trained = {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == saved.keys() and all(torch.equal(trained[name], saved[name]) for name in saved)


def test_the_run_folder_of_a_second_stage_is_both_stages_by_itself(runs, tmp_path):
    first = shutil.copytree(runs["lora"], tmp_path / "first")
    assert train(tmp_path, "--mode w-reinforce --vlm-name", first) == 0
    second = tmp_path / f"first-{NAME}-w-reinforce-7"
    shutil.rmtree(first)
    assert sample(second, tmp_path / "s.json") == 0
    settings = json.loads((tmp_path / "s.settings.json").read_text())
    assert settings["method"] == "w-reinforce" and settings["model"]["name"] == "tiny"
    start = json.loads((second / "training_settings.json").read_text())["model"]["start"]
    assert start["mode"] == "nsr" and start["folder"] == str(first)
    assert "Before that it was trained with NSR" in (second / "README.md").read_text()
    ours, base, before = (logits(model) for model in (adapted(second), base_model(), adapted(runs["lora"])))
    assert (ours - before).abs().max() > 1e-4 and (ours - base).abs().max() > 1e-3


@pytest.mark.slow
def test_a_second_stage_that_is_interrupted_goes_on_exactly(runs, tmp_path):
    line = ("--mode nsr --kl-beta 0.1 --save-steps 1 --vlm-name", runs["lora"])
    assert train(tmp_path / "whole", *line, "--max-steps", 3) == 0
    assert train(tmp_path / "broken", *line, "--max-steps", 2) == 0
    assert train(tmp_path / "broken", *line, "--max-steps", 3, "--resume") == 0
    same_weights(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--lora-rank 16", "--lora-rank 16: the adapter in"),
        ("--lora-alpha 7", "--lora-alpha 7.0: the adapter in"),
        ("--lora-targets q_proj", "--lora-targets q_proj: the adapter in"),
        ("--no-lora", "--no-lora trains every weight"),
    ],
)
def test_another_shape_than_the_adapters_is_refused_with_the_way_out(runs, flags, told, tmp_path, capsys):
    error = refused(capsys, train(tmp_path, f"--mode psr {flags} --vlm-name", runs["lora"]))
    assert told in error and "python -m checkpoints.merge" in error and not list(tmp_path.iterdir())


def test_a_second_stage_asks_as_the_first_did_unless_told_otherwise(runs, tmp_path):
    line = "--mode psr --dataset-name synthetic --subset-size 4 --report-to none --vlm-name"
    for more, prompt, pixels in (
        ([], "short", 401408),
        (["--prompt", "structured", "--max-pixels", "9000"], "structured", 9000),
    ):
        args = parse_args([*line.split(), str(runs["lora"]), *more])
        resolve_data(args)
        resolve_defaults(args)
        assert (args.prompt, args.max_pixels, args.max_completion_length) == (prompt, pixels, 12)


@pytest.mark.parametrize("flags", ["", "--no-lora"])
def test_a_second_stage_on_fully_trained_weights(runs, flags, tmp_path):
    assert train(tmp_path, f"--mode nsr {flags} --vlm-name", runs["full"]) == 0
    second = tmp_path / f"{runs['full'].name}-{NAME}-nsr-7"
    assert sample(second, tmp_path / "s.json") == 0
    assert "Before that it was trained with W-REINFORCE" in (second / "README.md").read_text()


def test_a_checkpoint_inside_a_run_begins_a_second_stage_too(runs, tmp_path):
    assert train(tmp_path, "--mode psr --vlm-name", runs["lora"] / "checkpoint-2") == 0
    assert (tmp_path / f"{runs['lora'].name}-checkpoint-2-{NAME}-psr-7").is_dir()


# -- merging ----------------------------------------------------------------------------------------------------------


def test_a_merged_folder_is_a_full_model_for_plain_transformers(runs, tmp_path, capsys):
    from checkpoints.merge import main as merge

    out = tmp_path / "merged"
    assert merge([str(runs["lora"]), str(out)]) == 0
    model = AutoModelForImageTextToText.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.float32 and (logits(model) - logits(adapted(runs["lora"]))).abs().max() < 1e-5
    ours, theirs = AutoProcessor.from_pretrained(out), AutoProcessor.from_pretrained(runs["lora"])
    assert ours.image_processor.size == theirs.image_processor.size and ours.chat_template == theirs.chat_template
    generation = json.loads((TINY_FOLDER / "generation_config.json").read_text())
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == generation["eos_token_id"]
    check_metadata((out / "README.md").read_text())
    assert sample(out, tmp_path / "merged.json") == sample(runs["lora"], tmp_path / "beside.json") == 0
    assert samples(tmp_path / "merged.json") == samples(tmp_path / "beside.json")
    assert json.loads((tmp_path / "merged.settings.json").read_text())["prompt"]["name"] == "short"

    before = (out / "model.safetensors").read_bytes()
    assert "--overwrite" in refused(capsys, merge([str(runs["lora"]), str(out)]))
    assert (out / "model.safetensors").read_bytes() == before
    assert merge([str(runs["lora"]), str(out), "--overwrite", "--dtype", "bfloat16"]) == 0
    assert {value.dtype for value in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert train(tmp_path, "--mode nsr --lora-rank 2 --vlm-name", out) == 0, "a new adapter of another rank"


@pytest.mark.parametrize(
    ("source", "output", "told"),
    [
        ("lora", "thesis", "no model folder"),
        ("lora", "none/merged", "does not exist"),
        ("lora", "lora", "folder that is read"),
        ("lora", "lora/merged", "folder that is read"),
        ("full", "merged", "no adapter"),
        ("tiny", "merged", "no adapter"),
        ("nowhere/at/all", "merged", "no such folder"),
    ],
)
def test_a_merge_that_cannot_be_is_refused_and_touches_nothing(runs, source, output, told, tmp_path, capsys):
    from checkpoints.merge import main as merge

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    place = runs["lora"] / output.removeprefix("lora/") if output.startswith("lora/") else tmp_path / output
    place = runs["lora"] if output == "lora" else place
    before = sorted(path for path in [*tmp_path.rglob("*"), *runs["lora"].rglob("*")])
    assert told in refused(capsys, merge([str(runs.get(source, source)), str(place), "--overwrite"]))
    assert sorted(path for path in [*tmp_path.rglob("*"), *runs["lora"].rglob("*")]) == before
