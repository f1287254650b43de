"""Pass@k of the held-out charts while training: the numbers, what they leave alone, what main.py says and keeps."""

import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers.trainer_utils import IntervalStrategy

import main
from evaluation.intervals import bootstrap_intervals
from settings.arguments import parse_args
from tests.held_out_processes import CHARTS, KNOWN, QUESTIONS, measuring
from tests.test_resume import build, seen, weights
from trainers.held_out import pass_at_k_metrics
from training.measured import pass_at_k_line

ROOT = Path(__file__).parent.parent
NONE = float("nan")
# 1, 2, 0, 4 and 1 right of four: 1 - C(4-c, k) / C(4, k) for k = 1, 2, 4
EXPECTED = {
    1: (1 / 4 + 2 / 4 + 0 + 1 + 1 / 4) / 5,
    2: (1 / 2 + 5 / 6 + 0 + 1 + 1 / 2) / 5,
    4: (1 + 1 + 0 + 1 + 1) / 5,
}


def of(metrics, prefix="eval_"):
    """k -> Pass@k."""
    named = {key.removeprefix(f"{prefix}pass@"): value for key, value in metrics.items() if "pass@" in key}
    return {int(k): value for k, value in named.items() if k.isdigit()}


def test_pass_at_k_by_hand():
    correct = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [NONE, NONE, 1, 0], [NONE] * 4]
    found = pass_at_k_metrics(np.array(correct, float))
    assert of(found, "") == pytest.approx(EXPECTED), "a question without a verdict is none, a completion is wrong"
    assert pass_at_k_metrics(np.full((2, 4), NONE)) == {}
    three = pass_at_k_metrics(np.array([[1, 0, 0], [0, 0, 0]], float))
    assert of(three, "") == pytest.approx({1: 1 / 6, 2: 1 / 3, 3: 1 / 2}), "n is there where it is no power of two"


def test_intervals_are_those_of_the_evaluation_with_the_questions_of_a_chart_together():
    correct = np.array([[1, 0], [1, 1], [0, 0], [NONE, NONE], [0, 0]], float)
    charts = ["one", "one", "two", "three", "three"]
    found = pass_at_k_metrics(correct, charts)
    table = np.array([[0.5, 1], [1, 1], [0, 0], [0, 0]])
    bounds = bootstrap_intervals(table, ["one", "one", "two", "three"], within=(0.0, 1.0))
    assert [[found[f"pass@{k}/{end}"] for end in ("low", "high")] for k in (1, 2)] == bounds.tolist()
    assert pass_at_k_metrics(correct)["pass@1/high"] != found["pass@1/high"], "a row is else a chart of its own"


def test_known_completions_give_their_pass_at_k(tmp_path):
    trainer = measuring(tmp_path, 4, KNOWN)
    metrics = trainer.evaluate()
    assert of(metrics) == pytest.approx(EXPECTED)
    assert metrics["eval_decomposed/accuracy"] == pytest.approx(8 / 18), "of completions that have a verdict"
    logged = trainer.state.log_history[-1]
    assert {key: logged[key] for key in metrics if "pass@" in key} == {k: v for k, v in metrics.items() if "pass@" in k}
    order = [*trainer._get_eval_sampler(trainer.eval_dataset)][::4]
    right = {"ask a": 1, "ask b": 2, "ask c": 0, "ask d": 4, "ask e": 1}
    rows = np.array([[1.0] * right[QUESTIONS[i]] + [0.0] * (4 - right[QUESTIONS[i]]) for i in order])
    by_hand = pass_at_k_metrics(rows, [CHARTS[i] for i in order])
    assert {f"eval_{key}": value for key, value in by_hand.items()} == {
        key: value for key, value in metrics.items() if "pass@" in key
    }, "each question has its own chart, though questions are shuffled"


def test_one_completion_is_measured_as_ever(tmp_path):
    trainer = measuring(tmp_path, 1)
    metrics = trainer.evaluate()
    assert not of(metrics) and {"eval_loss", "eval_entropy", "eval_decomposed/accuracy"} <= metrics.keys()
    assert trainer._stream("eval", "key", range(5, 6)) == ("eval step 0 prompt key", range(5, 6))
    several = measuring(tmp_path, 4)
    assert several._stream("eval", "key", range(8, 12)) == ("eval prompt key", range(4))
    assert several._stream("train", "key", range(8, 12)) == ("train step 0 prompt key", range(8, 12))


@pytest.mark.parametrize("rollouts", ["engine", "generate"])
def test_every_measurement_draws_from_the_same_random_numbers(rollouts, tmp_path):
    trainer = measuring(tmp_path, 4)
    trainer.rollouts = rollouts
    first = trainer.evaluate()
    trainer.state.global_step = 7
    torch.manual_seed(99)
    again = trainer.evaluate()
    shown = {key for key in first if key not in ("eval_runtime",) and "per_second" not in key}
    assert {key: first[key] for key in shown} == {key: again[key] for key in shown}


def test_a_measurement_of_several_completions_computes_no_log_probabilities(tmp_path):
    """Neither for a loss nor, with several updates a rollout batch and a KL term, as old ones and a reference's."""
    adapter = LoraConfig(target_modules=["q_proj", "v_proj"], r=2)
    trainer = measuring(tmp_path, 4, steps_per_generation=2, beta=0.1, per_device_train_batch_size=2, peft=adapter)
    kinds = []
    trainer.model.get_base_model().register_forward_hook(
        lambda _, given, kept, out: kinds.append("shift_labels" in kept or "labels" in kept), with_kwargs=True
    )
    trainer.evaluate()
    assert not any(kinds)
    trainer.train()
    assert any(kinds), "an update does"


def measured_run(folder, samples=4, checkpoint=None, **config):
    run = {"updates": 2, "rows": 4, "num_generations_eval": samples, "per_device_eval_batch_size": 2 * samples}
    trainer = build(folder, "nsr", **run, **{"save_strategy": "no", **config}, eval_steps=1)
    trainer.eval_dataset = datasets.Dataset.from_dict({"prompt": QUESTIONS})
    if samples:
        trainer.args.eval_strategy = IntervalStrategy.STEPS
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def test_measurements_move_nothing_and_a_resumed_run_repeats_them(tmp_path):
    unbroken = measured_run(tmp_path / "unbroken", save_strategy="steps")
    without = build(tmp_path / "without", "nsr", 2, 4, save_strategy="no")
    without.train()
    assert torch.equal(weights(unbroken), weights(without))
    assert [entry for entry in seen(unbroken) if not of(entry)] == seen(without)
    assert sum(bool(of(entry)) for entry in seen(unbroken)) == unbroken.state.global_step == 4
    for step in (1, 3):  # between the updates of a rollout batch
        again = measured_run(tmp_path / "again", checkpoint=str(tmp_path / "unbroken" / f"checkpoint-{step}"))
        assert torch.equal(weights(again), weights(unbroken)) and _without_clock(again) == _without_clock(unbroken)


def _without_clock(trainer):
    clock = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    return [{key: value for key, value in entry.items() if key not in clock} for entry in seen(trainer)]


def run_in_processes(folder, processes):
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "tests.held_out_processes", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"results_{rank}.json").read_text()) for rank in range(processes)]


def test_rows_that_fill_up_the_last_batch_of_several_processes_are_not_counted(tmp_path):
    trainer = measuring(tmp_path, 2)
    trainer._to_count = 6
    batches = [torch.tensor([1.0, 0, NONE, 1]), torch.tensor([0.0, 1, 1, 1])]
    assert [trainer._count_once(batch).tolist()[-1] for batch in batches] == [1, 1] and trainer._to_count == 0
    assert [len(part) for part in trainer._verdicts] == [4, 2]
    trainer._to_count = None
    assert len(trainer._count_once(batches[0])) == 4, "outside a measurement all are"


@pytest.mark.slow
def test_two_processes_share_the_questions_and_count_each_once(tmp_path):
    (alone,) = run_in_processes(tmp_path / "one", 1)
    for results in run_in_processes(tmp_path / "two", 2):
        assert of(results["known"]) == pytest.approx(EXPECTED)
        for name in ("known", "one", "drawn"):
            keys = {key for key in alone[name] if "pass@" in key or key.endswith("/accuracy")}
            assert {key: results[name][key] for key in keys} == {key: alone[name][key] for key in keys}
    assert not of(alone["one"]) and alone["one"]["eval_decomposed/accuracy"] == 3 / 4


# -- main.py ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--eval-samples 0", "--eval-samples 0: must be at least 1"),
        ("--eval-samples 4 --held-out 0", "--eval-samples 4 measures Pass@k on the held-out charts; --held-out 0 has"),
        ("--best-by pass@1 --held-out 0", "--best-by pass@1 keeps the best checkpoint on the held-out charts"),
        ("--best-by pass@n", "--best-by pass@n needs --eval-samples of 2 or more"),
        ("--best-by loss", "invalid choice: 'loss'"),
        ("--eval-on-start --held-out 0", "--eval-on-start measures the base on the held-out charts; --held-out 0 has"),
        ("--eval-on-start maybe", "invalid choice: 'maybe'"),
    ],
)
def test_settings_that_measure_nothing_are_refused(line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_args(["--mode", "nsr", *line.split()])


@pytest.mark.slow
def test_main_measures_says_and_keeps_the_best(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "--mode nsr --subset-size 4 --held-out 0.05 --num-generations 4 --max-completion-length 12 --report-to none "
    words = [*line.split(), "--eval-steps", "2", "--eval-samples", "3", "--best-by", "pass@n"]
    assert main.main(words) == 0
    shown = capsys.readouterr()
    (folder,) = Path("grpo-start-ckpts").iterdir()
    state = json.loads((folder / "trainer_state.json").read_text())
    measured = [entry for entry in state["log_history"] if of(entry)]
    assert [entry["step"] for entry in measured] == [0, 2, 4], "the base too, where nothing else is said"
    assert all(of(entry).keys() == {1, 2, 3} for entry in measured)
    assert measured[0]["eval_pass@1"] == pytest.approx(measured[0]["eval_decomposed/accuracy"])
    for entry in measured:
        assert f"step {entry['step']}: held out: {pass_at_k_line(entry)}" in shown.out
    best = max(measured[1:], key=lambda entry: (entry["eval_pass@3"], -entry["step"]))
    assert (state["best_global_step"], state["best_metric"]) == (best["step"], best["eval_pass@3"])
    assert re.search(rf"Best by Pass@3: update {best['step']}, .*: checkpoint-{best['step']}\n", shown.out)
    assert f"Best checkpoint: checkpoint-{best['step']}: the highest Pass@3 on" in shown.out
    assert f"Before training: {pass_at_k_line(measured[0])}\n" in shown.out and "Best by Pass@1: update " in shown.out
    assert "Held-out charts: 100%" in shown.err
    assert main.main([*words, "--max-steps", "5", "--resume"]) == 0
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if of(entry)] == [0, 2, 4, 5], "a run that goes on has its base already"


@pytest.mark.slow
def test_the_table_of_completions_is_that_of_training_whenever_a_measurement_is_made(tmp_path, capsys):
    """TRL has one file of completions a step: those of a measurement would take the place of what was trained on."""
    import pandas

    run = ["--mode", "w-reinforce", "--vlm-name", "tiny", "--dataset-name", "synthetic", "--subset-size", "16"]
    run += ["--max-steps", "2", "--num-generations", "2", "--batch-size", "8", "--eval-steps", "1", "--log-completions"]
    assert main.main([*run, "--lambda-psr", "1", "--report-to", "none", "--output-root", str(tmp_path)]) == 0
    printed = re.findall(r"Rewards Accuracy: \[(.*)\]", capsys.readouterr().out)
    files = sorted(tmp_path.rglob("completions_*.parquet"))
    assert len(files) == len(printed) == 2, "of the last step too, which ends with a measurement and a log of its own"
    for file, rewards in zip(files, printed, strict=True):
        trained_on = pandas.read_parquet(file)["advantage"].tolist()
        assert sorted(trained_on) == sorted(map(float, rewards.split(", "))) and any(trained_on)
