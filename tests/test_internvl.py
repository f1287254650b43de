"""InternVL3: images of several tiles, in numbers that differ from row to row, from the flags to a resumed run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import generate_samples
import main
from charts.synthetic import synthetic_questions
from estimate.report import measure_prompts
from models.families import family_of
from models.inputs import prompt_inputs
from models.registry import load_processor
from settings.arguments import parse_args
from tests import test_families_train
from tests.families import make_family
from tests.test_packed_update import LENGTHS, RIGHT, gap, train

SIDES = ((112, 112), (168, 56))  # 4 tiles, 3 tiles, and in both the small copy of the whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The family as a user has it: a folder with model and processor."""
    model, processor = make_family("internvl")
    place = tmp_path_factory.mktemp("models") / "internvl"
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


@pytest.fixture
def ragged(monkeypatch):
    """The questions of the family tests, with images of different shapes."""

    def shaped(question, size):
        image = question.open_image().resize(size, Image.Resampling.BICUBIC)
        return replace(question, open_image=lambda: image)

    pairs = zip(test_families_train.QUESTIONS.items(), SIDES, strict=True)
    questions = {name: shaped(question, size) for (name, question), size in pairs}
    monkeypatch.setattr(test_families_train, "QUESTIONS", questions)
    return list(questions.values())


def tiles(processor, image) -> int:
    question = replace(next(iter(test_families_train.QUESTIONS.values())), open_image=lambda: image)
    return len(prompt_inputs(processor, question, image, prompt="short")["pixel_values"])


def test_pixel_limits_are_numbers_of_tiles(folder):
    wide, square = Image.new("RGB", (224, 56)), Image.new("RGB", (112, 112))
    tile = 56 * 56
    assert tiles(load_processor(str(folder)), wide) == 5, "four, and the small copy of the whole"
    for limits, expected in (
        ({"max_pixels": 4 * tile}, 5),
        ({"max_pixels": 3 * tile}, 4),
        ({"min_pixels": 100, "max_pixels": 2 * tile - 1}, 1),
        ({"min_pixels": 100, "max_pixels": 200}, 1),  # one tile is the least
        ({"min_pixels": tile + 1, "max_pixels": 2 * tile}, 3),
    ):
        assert tiles(load_processor(str(folder), **limits), wide) == expected, limits
    assert tiles(load_processor(str(folder), max_pixels=tile), square) == 1
    assert family_of(load_processor(str(folder))).image_step(load_processor(str(folder))) == 28
    for low, high in ((0, 100), (-5, None), (200, 100), (None, 100)):
        with pytest.raises(ValueError, match="0 < min"):
            load_processor(str(folder), min_pixels=low, max_pixels=high)


def test_rows_with_different_numbers_of_tiles_have_the_gradient_of_plain_rows(ragged, tmp_path):
    options = {"family": "internvl", "mode": "nsr"}
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (lean,), trainer, less = train(tmp_path / "lean", "shared", LENGTHS, RIGHT, **options)
    assert trainer.shares_prompts and plain.norm() > 0 and gap(lean, plain) < 1e-9 and less < computed / 2


def test_so_have_training_and_sampling_the_same_tiles(ragged, tmp_path):
    (trainer, processor) = test_families_train.family_trainer("internvl", tmp_path / "one", dtype=torch.float32)
    assert [len(test_families_train.asked(one, processor)["pixel_values"]) for one in ragged] == [5, 4]
    assert test_families_train.rollout(trainer)["num_tiles"] == [5, 5, 4, 4]
    test_families_train.test_trl_and_the_sampler_ask_with_the_same_tokens_and_pixels("internvl", tmp_path / "two")
    test_families_train.test_rollouts_of_the_engine_come_from_the_distribution_that_is_trained("internvl", tmp_path)


def test_what_a_run_would_need_is_estimated(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = f"--mode nsr --vlm-name {folder} --dataset-name synthetic --subset-size 6 --max-pixels 12544 --estimate"
    assert main.main(line.split()) == 0
    said = capsys.readouterr().out
    assert "(20 of the largest image)" in said, "five tiles of four tokens"
    processor = load_processor(str(folder), max_pixels=12544)
    prompts = measure_prompts(processor, synthetic_questions("train", 2), parse_args(line.split()))
    assert (prompts.patches, prompts.patch_width, prompts.image_tokens) == ([80, 80], 3 * 14 * 14, 20)


def test_it_is_trained_resumed_bit_for_bit_and_sampled_by_the_two_programs(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = f"--mode nsr --vlm-name {folder} --dataset-name synthetic --subset-size 6 --num-generations 4 --batch-size 4"
    line += " --gradient-accumulation-steps 1 --updates-per-rollout 2 --max-completion-length 8 --learning-rate 1e-3"
    line += " --save-steps 1 --held-out 0 --report-to none --disable-gradient-checkpointing"
    assert main.main([*line.split(), "--output-root", "unbroken"]) == 0
    shutil.copytree("unbroken", "broken")
    (run,) = Path("broken").iterdir()
    expected = load_file(Path("unbroken", run.name, "adapter_model.safetensors"))
    assert any(value.abs().max() > 0 for name, value in expected.items() if "lora_B" in name)
    (run / "adapter_model.safetensors").unlink()
    settings = json.loads((run / "training_settings.json").read_text())
    (run / "training_settings.json").write_text(json.dumps({**settings, "finished": False}))
    shutil.rmtree(run / "checkpoint-6")
    capsys.readouterr()
    assert main.main([*line.split(), "--output-root", "broken", "--resume"]) == 0
    assert "Resuming from" in capsys.readouterr().out
    resumed = load_file(run / "adapter_model.safetensors")
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[name], expected[name]) for name in expected)
    sample = f"--checkpoint-path {run} --dataset-name synthetic --subset-size 2 --num-samples 4 --max-new-tokens 4"
    assert generate_samples.main([*sample.split(), "--output-path", "samples.json"]) == 0
    assert [problem["num_total"] for problem in json.loads(Path("samples.json").read_text())] == [4, 4]
