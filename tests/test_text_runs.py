"""The paper's own setting, small: a Qwen2 on a local copy of MATH, by the programs, from training to the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

import generate_samples
import main
from checkpoints import merge
from evaluation import pass_at_k, report
from study.compare_modes import complete_modes
from tests.families import spread, text_settings, text_tokenizer
from tests.math_copies import math_row
from tests.server import serving

ANSWERS = ("\\boxed{0}", "\\boxed{1}")
SMALL = ("--subset-size 12 --num-generations 4 --batch-size 8 --gradient-accumulation-steps 1 --updates-per-rollout 2 "
         "--max-completion-length 20 --learning-rate 1e-2 --save-steps 1 --held-out 0 --report-to none "
         "--disable-gradient-checkpointing")  # fmt: skip


def save_model(folder: Path) -> Path:
    """A random Qwen2 that often writes one of the ANSWERS, each a token, and often ends."""
    tokenizer = text_tokenizer("qwen2")
    tokenizer.add_tokens(list(ANSWERS))
    own = {"tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    config = Qwen2Config(**{**text_settings(tokenizer, 2, 32), **own})
    torch.manual_seed(0)
    model = spread(Qwen2ForCausalLM(config))
    often = [*tokenizer.convert_tokens_to_ids(list(ANSWERS)), tokenizer.eos_token_id]
    with torch.no_grad():
        model.lm_head.weight[often] *= 12
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Model and data as a user has them."""
    folder = tmp_path_factory.mktemp("text")
    save_model(folder / "model")
    rows = [math_row(n, problem=f"Is ${n}$ odd?", solution=f"It is $\\boxed{{{n % 2}}}$.") for n in range(48)]
    splits = {"train": rows[:40], "test": rows[40:]}
    data = datasets.DatasetDict({name: datasets.Dataset.from_list(part) for name, part in splits.items()})
    data.save_to_disk(str(folder / "MATH"))
    return folder


def trained(place: Path, mode: str, root: str, *more: str) -> Path:
    line = f"--mode {mode} --model-name {place / 'model'} --dataset-name math --dataset-path {place / 'MATH'} {SMALL}"
    assert main.main([*line.split(), "--output-root", root, *more]) == 0
    (run,) = Path(root).iterdir()
    return run


def interrupt(run: Path) -> None:
    """As if the run had been stopped before its last update."""
    (run / "adapter_model.safetensors").unlink()
    settings = json.loads((run / "training_settings.json").read_text())
    (run / "training_settings.json").write_text(json.dumps({**settings, "finished": False}))
    shutil.rmtree(run / "checkpoint-6")


def use_as_the_card_says(run: Path, model: Path, capsys) -> None:
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "chart" not in card and "image" not in card and "pipeline_tag: text-generation" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    assert "You are a helpful assistant." in code and "AutoModelForCausalLM" in code
    code = code.replace("the/folder/of/the/base/model", str(model)).replace(f'"{run.name}"', repr(str(run)))
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out.strip()


EVERY_TIME = ("nsr", "w-reinforce")
MODES = [mode if mode in EVERY_TIME else pytest.param(mode, marks=pytest.mark.slow) for mode in complete_modes()]


@pytest.mark.parametrize("mode", MODES)
def test_a_text_model_is_trained_resumed_sampled_and_scored(mode, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    expected = load_file(trained(place, mode, "unbroken") / "adapter_model.safetensors")
    assert any(value.abs().max() > 0 for name, value in expected.items() if "lora_B" in name), "it has learned"
    said = capsys.readouterr().out
    assert "No row has an image" in said
    shutil.copytree("unbroken", "broken")
    (run,) = Path("broken").iterdir()
    interrupt(run)
    resumed = load_file(trained(place, mode, "broken", "--resume") / "adapter_model.safetensors")
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[name], expected[name]) for name in expected)
    record = json.loads((run / "training_settings.json").read_text())
    assert record["settings"]["prompt"] == "boxed"
    use_as_the_card_says(run, place / "model", capsys)
    states = json.loads((Path("unbroken") / run.name / "trainer_state.json").read_text())["log_history"]
    for sign in ("positive", "negative"):
        assert sum(entry.get(f"decomposed/{sign}", 0) for entry in states) > 0, "math-verify has judged both ways"

    data = f"--dataset-name math --dataset-path {place / 'MATH'} --subset-size 3 --num-samples 256"
    sample = f"--checkpoint-path {run} {data} --output-path samples.json --temperature 0.6 --top-p 0.95"
    assert generate_samples.main([*sample.split(), "--max-new-tokens", "16"]) == 0
    problems = json.loads(Path("samples.json").read_text())
    assert [len(one["samples"]) for one in problems] == [256] * 3
    assert all(one["rule"] == "math" and one["image"] is None for one in problems)
    assert {mark for one in problems for mark in one["correct"]} <= {True, False}
    assert all(one["correct"] == one["correct_strict"] for one in problems)
    assert pass_at_k.main(["--samples-path", "samples.json", "--output-path", "scored.json", "--metrics", "all"]) == 0
    assert "Pass@256" in capsys.readouterr().out
    assert report.main(["samples.json", "--output-path", "report.html"]) == 0
    assert "Is $4" in Path("report.html").read_text(encoding="utf-8")


def test_shards_of_a_text_set_are_its_file(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = f"--checkpoint-path {place / 'model'} --dataset-name math --dataset-path {place / 'MATH'} --subset-size 5"
    line += " --num-samples 64 --max-new-tokens 8"
    assert generate_samples.main([*line.split(), "--output-path", "whole.json"]) == 0
    for shard in ("2/2", "1/2"):
        assert generate_samples.main([*line.split(), "--output-path", "parts.json", "--shard", shard]) == 0
    whole, parts = (json.loads(Path(f"{name}.json").read_text()) for name in ("whole", "parts"))
    assert [one["problem_id"] for one in parts] == [one["problem_id"] for one in whole] and len(whole) == 5
    assert [one["samples"] for one in parts] == [one["samples"] for one in whole]
    assert not Path("sample_images").exists(), "there are no pictures to keep"


def test_the_base_model_is_asked_as_the_data_set_says(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = f"--dataset-name math --dataset-path {place / 'MATH'} --subset-size 2 --num-samples 64 --max-new-tokens 16"
    for name, flags in (("boxed", ""), ("short", "--prompt short")):
        line = f"--checkpoint-path {place / 'model'} {data} --output-path {name}.json {flags}"
        assert generate_samples.main(line.split()) == 0
        assert json.loads(Path(f"{name}.settings.json").read_text())["prompt"]["name"] == name
    marks = {mark for one in json.loads(Path("boxed.json").read_text()) for mark in one["correct"]}
    assert marks == {True, False}, "boxes are read, and some are right"
    assert not any(mark for one in json.loads(Path("short.json").read_text()) for mark in one["correct"])


def test_charts_are_refused_for_a_model_that_sees_none_unless_they_are_taken_away(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = f"--mode nsr --model-name {place / 'model'} --dataset-name synthetic --subset-size 40"
    sample = f"--checkpoint-path {place / 'model'} --dataset-name synthetic --subset-size 2 --num-samples 2"
    sample += " --max-new-tokens 4 --output-path s.json"
    for run, line in (
        (main.main, train),
        (main.main, f"{train} --estimate"),
        (generate_samples.main, sample),
        (generate_samples.main, f"{sample} --without-image mask"),
    ):
        assert run(line.split()) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ") and "\n" not in error
        assert f"model {place / 'model'} reads text alone" in error
    assert list(tmp_path.iterdir()) == []
    assert generate_samples.main([*sample.split(), "--without-image", "remove"]) == 0


@pytest.mark.slow
def test_all_weights_are_trained_sampled_and_trained_further(place, tmp_path, monkeypatch, capsys):
    """As the recipe does: --no-lora, four updates a rollout batch, an entropy bonus."""
    monkeypatch.chdir(tmp_path)
    more = ("--no-lora", "--entropy-bonus", "1e-4", "--clip", "0.2", "--reward", "accuracy")
    run = trained(place, "nsr", "whole", *more)
    before, after = (load_file(folder / "model.safetensors") for folder in (place / "model", run))
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in after)
    use_as_the_card_says(run, place / "model", capsys)
    sample = f"--checkpoint-path {run} --dataset-name math --dataset-path {place / 'MATH'} --output-path s.json"
    assert generate_samples.main([*sample.split(), "--subset-size", "2", "--num-samples", "4"]) == 0
    further = f"--mode psr --model-name {run} --dataset-name math --dataset-path {place / 'MATH'} {SMALL} --no-lora"
    assert main.main([*further.split(), "--output-root", "further"]) == 0


@pytest.mark.slow
def test_an_adapter_is_merged_into_the_weights_and_says_the_same(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run, said = trained(place, "nsr", "runs"), {}
    assert merge.main([str(run), "merged"]) == 0
    for name in (str(run), "merged"):
        line = f"--checkpoint-path {name} --dataset-name math --dataset-path {place / 'MATH'} --subset-size 4 --top-k 1"
        assert (
            generate_samples.main([*line.split(), "--num-samples", "1", "--output-path", "s.json", "--overwrite"]) == 0
        )
        said[name] = [one["samples"] for one in json.loads(Path("s.json").read_text())]
        assert json.loads(Path("s.settings.json").read_text())["prompt"]["name"] == "boxed"
    assert said[str(run)] == said["merged"]


def test_a_server_draws_a_text_models_completions_too(place, tmp_path):
    """Greedily those of the engine, with the prompt of the data set and with a template of one's own."""
    (tmp_path / "p.txt").write_text("{question} Answer in <answer> </answer>.")
    line = f"--checkpoint-path {place / 'model'} --dataset-name math --dataset-path {place / 'MATH'} --subset-size 3"
    line += " --num-samples 1 --top-k 1 --max-new-tokens 12"
    with serving(str(place / "model")) as served:
        for number, own in enumerate(([], ["--prompt-file", str(tmp_path / "p.txt")])):
            files = [tmp_path / f"{where}{number}.jsonl" for where in ("here", "there")]
            for file, to in zip(files, ([], ["--backend", "server", "--server-url", served.url]), strict=True):
                assert generate_samples.main([*line.split(), *own, *to, "--output-path", str(file)]) == 0
            here, there = ([json.loads(row)["samples"] for row in file.read_text().splitlines()[1:]] for file in files)
            assert here == there and len(here) == 3
        flags = ["--checkpoint-path", str(place / "model"), "--dataset-name", "synthetic", "--backend", "server"]
        assert generate_samples.main([*flags, "--server-url", served.url, "--output-path", "s.json"]) == 2


def test_the_data_sets_own_prompt_and_rule_are_shown(place, tmp_path, capsys):
    for program, flags in (
        (main.main, ["--mode", "nsr", "--model-name", str(place / "model")]),
        (generate_samples.main, ["--checkpoint-path", str(place / "model"), "--output-path", "s.json"]),
    ):
        data = ["--dataset-name", "math", "--dataset-path", str(place / "MATH")]
        assert program([*flags, *data, "--show-data", str(tmp_path / "page.html")]) == 0
        said = capsys.readouterr().out
        assert (
            "\\boxed{}" in said and "by the strict rule the verdict of math-verify" in said and "0.05 of it" not in said
        )


def test_a_text_model_trains_on_what_a_server_draws(place, tmp_path, capsys):
    with serving(str(place / "model")) as served:
        run = trained(place, "nsr", str(tmp_path / "runs"), "--rollouts", "server", "--server-url", served.url)
    assert (run / "adapter_model.safetensors").is_file() and len(served.asked) >= 3
    assert (
        main.main(["--mode", "nsr", "--base-4bit", "--rollouts", "server", "--server-url", "http://127.0.0.1:1"]) == 2
    )
    assert "leave --base-4bit out" in capsys.readouterr().err
