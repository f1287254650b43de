"""The best checkpoint by accuracy or Pass@k: kept beside the newest, found again after a break, never a refused one."""

import errno
import os
import signal
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from checkpoints import exact_resume
from checkpoints.manifest import checkpoints, publish, step_of
from tests.test_early_warning import BOUNDS, watch
from tests.test_resume import build
from training.early_warning import BEST_BY, EarlyWarning, Watch
from training.interruption import Interruption
from training.measured import best_metric, pass_at_k_line, summary


class Measured(EarlyWarning):
    """Has measured these accuracies, step by step."""

    def __init__(self, accuracies):
        super().__init__(Watch("nsr", 2, BOUNDS), stop=True)
        self.accuracies = accuracies

    def on_step_end(self, args, state, control, **kwargs):
        accuracy = self.accuracies.get(state.global_step)
        if accuracy is not None:
            state.log_history.append({BEST_BY: accuracy, "step": state.global_step})
            self.on_evaluate(args, state, control, metrics={BEST_BY: accuracy})


def trained(folder, accuracies, checkpoint=None, **settings):
    trainer = build(folder, "nsr", 1, 8, **{"save_steps": 100, "max_steps": 8, **settings})
    trainer.add_callback(Measured(accuracies))
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def steps(folder):
    return [step_of(path) for path in checkpoints(folder)]


def best(trainer):
    state = trainer.state
    return state.best_model_checkpoint, state.best_global_step, state.best_metric


def test_the_newest_checkpoint_stays_beside_the_best_one(tmp_path):
    trainer = trained(tmp_path, {2: 0.5, 4: 0.4}, save_total_limit=1)
    assert steps(tmp_path) == [8, 2]
    assert best(trainer) == (str(tmp_path / "checkpoint-2"), 2, 0.5)


def test_a_run_resumed_in_another_place_keeps_its_best_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    trained("run", {2: 0.5}, save_steps=3, max_steps=4)
    (tmp_path / "run").rename(tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    trainer = trained("run", {5: 0.4}, "run/checkpoint-3", save_steps=3, save_total_limit=1)
    assert best(trainer) == ("run/checkpoint-2", 2, 0.5) and steps(tmp_path / "elsewhere" / "run") == [8, 2]


def test_a_best_checkpoint_that_is_gone_gives_way_to_the_next_measurement(tmp_path):
    trained(tmp_path, {2: 0.5}, save_steps=3, max_steps=4)
    (tmp_path / "checkpoint-2" / "trainer_state.json").unlink()
    trainer = trained(tmp_path, {5: 0.4}, str(tmp_path / "checkpoint-3"))
    assert best(trainer) == (str(tmp_path / "checkpoint-5"), 5, 0.4)


def test_a_best_checkpoint_that_the_disk_refuses_leaves_the_one_before(tmp_path, monkeypatch):
    real = exact_resume.publish

    def full_at_4(written, final):
        if step_of(final) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(written, final)

    monkeypatch.setattr(exact_resume, "publish", full_at_4)
    trainer = trained(tmp_path, {2: 0.5, 4: 0.9, 6: 0.7})
    assert best(trainer) == (str(tmp_path / "checkpoint-6"), 6, 0.7) and steps(tmp_path) == [8, 6]


def test_a_checkpoint_that_was_only_the_best_goes_when_another_is(tmp_path):
    trained(tmp_path, {2: 0.5, 3: 0.6, 5: 0.7, 7: 0.8}, save_steps=3)
    assert steps(tmp_path) == [8, 7, 6, 3], "the one of --save-steps stays, the others were kept for being the best"


def test_a_signal_is_heeded_when_nothing_can_be_written_to_the_log(tmp_path, monkeypatch):
    trainer = build(tmp_path, "nsr", 1, 8)
    with Path("/dev/full").open("w") as full, Interruption(trainer) as interruption:
        monkeypatch.setattr("sys.stderr", full)
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.undo()
        trainer.train()
    assert interruption.signal == signal.SIGTERM and steps(tmp_path) == [1]


# -- the metric that it is chosen by -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("best_by", "samples", "metric"),
    [
        (None, 1, "eval_decomposed/accuracy"), ("pass@1", 1, "eval_decomposed/accuracy"), (None, 8, "eval_pass@1"),
        ("pass@1", 8, "eval_pass@1"), ("pass@n", 8, "eval_pass@8"), ("pass@n", 6, "eval_pass@6"),
    ],
)  # fmt: skip
def test_what_the_best_is_measured_by(best_by, samples, metric):
    assert best_metric(best_by, samples) == metric


def test_the_best_by_pass_at_n_is_saved_without_a_stop_too():
    callback, state = EarlyWarning(watch(), best_by="eval_pass@8"), TrainerState()
    saves = []
    for step, (one, eight) in enumerate([(0.9, 0.9), (0.5, 0.6), (0.4, 0.7), (0.6, 0.7)]):
        state.global_step, control = step, TrainerControl()
        callback.on_evaluate(None, state, control, metrics={"eval_pass@1": one, "eval_pass@8": eight})
        saves.append(control.should_save)
    assert saves == [False, True, True, False], "before the first update there is no checkpoint to keep"
    assert (state.best_global_step, state.best_metric) == (2, 0.7)


class Measures(EarlyWarning):
    """Has measured Pass@1 and Pass@8 at two steps."""

    def on_step_end(self, args, state, control, **kwargs):
        found = {1: (0.3, 0.9), 3: (0.4, 0.8)}.get(state.global_step)
        if found:
            metrics = dict(zip(("eval_pass@1", "eval_pass@8"), found, strict=True))
            state.log_history.append({**metrics, "step": state.global_step})
            self.on_evaluate(args, state, control, metrics=metrics)


@pytest.mark.parametrize(("best_by", "best", "value"), [("eval_pass@1", 3, 0.4), ("eval_pass@8", 1, 0.9)])
def test_a_resumed_run_remembers_the_best_by_the_metric_that_it_is_chosen_by(best_by, best, value, tmp_path):
    for length, checkpoint in ((2, None), (4, str(tmp_path / "checkpoint-2"))):
        trainer = build(tmp_path, "nsr", 1, 8, save_steps=100, max_steps=length, save_total_limit=1)
        trainer.best_by = best_by
        trainer.add_callback(Measures(watch(), best_by=best_by))
        trainer.train(resume_from_checkpoint=checkpoint)
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (best, value)
    assert steps(tmp_path) == [4, best]


def entry(step, one, four):
    found = {"step": step, "eval_decomposed/accuracy": one}
    for k, value in ((1, one), (4, four)):
        found |= {f"eval_pass@{k}": value, f"eval_pass@{k}/low": value - 0.1, f"eval_pass@{k}/high": value + 0.1}
    return found


def test_the_end_of_a_run_says_which_checkpoint_is_the_best(tmp_path):
    base, *history = [entry(0, 0.3, 0.6), entry(2, 0.5, 0.6), entry(4, 0.4, 0.8), entry(6, 0.5, 0.7)]
    written = tmp_path / "written" / "checkpoint-2"
    written.mkdir(parents=True)
    (written / "trainer_state.json").write_text("{}")
    publish(written, tmp_path / "checkpoint-2")
    shown = [
        "Held-out charts, 20 questions, 4 completions each: Pass@1 50.0 % [40.0, 60.0], Pass@4 70.0 % [60.0, 80.0]",
        "Best by Pass@1: update 2, Pass@1 50.0 % [40.0, 60.0]: checkpoint-2",
        "Best by Pass@4: update 4, Pass@4 80.0 % [70.0, 90.0]: none of it is kept (--best-by pass@n keeps one)",
        "Best checkpoint: checkpoint-2: the highest Pass@1 on the held-out charts, the first of equals: 50.0%",
    ]
    by_one, by_four = ({"best_by": f"eval_pass@{k}"} for k in (1, 4))
    assert summary(history, 20, tmp_path, last=True, **by_one) == shown
    assert summary(history, 20, tmp_path, last=False, **by_one) == shown[1:]
    said = summary([base, *history], 20, tmp_path, last=True, **by_four)
    assert (
        said[0] == "Before training: Pass@1 30.0 % [20.0, 40.0], Pass@4 60.0 % [50.0, 70.0]" and said[1:4] == shown[:3]
    )
    assert said[4].startswith("Best checkpoint: that of update 4, which is not there: the highest Pass@4 on")
    assert said[4].endswith(": 80.0%, 60.0% before training")
    one = [{"step": 2, "eval_decomposed/accuracy": 0.25}]
    lines = [
        "Held-out accuracy: 25.0% on 20 questions, one completion each",
        "Best checkpoint: checkpoint-2: the highest accuracy on the held-out charts, the first of equals: 25.0%",
    ]
    assert summary(one, 20, tmp_path, last=True) == lines and summary(one, 20, tmp_path, last=False) == lines[1:]
    untrained = {"step": 0, "eval_decomposed/accuracy": 0.25}
    before = ", 25.0% before training"
    assert summary([untrained, *one], 20, tmp_path, last=True) == [lines[0] + before, lines[1] + before + ": no better"]
    assert summary([], 20, tmp_path, last=True) == summary([untrained], 20, tmp_path, last=True) == []
    assert pass_at_k_line({"loss": 0.0, **one[0]}) is None
