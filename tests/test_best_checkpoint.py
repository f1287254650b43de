"""The best checkpoint by held-out accuracy: kept beside the newest, found again after a break, never a refused one."""

import errno
import os
import signal
from pathlib import Path

from checkpoints import exact_resume
from checkpoints.manifest import checkpoints, step_of
from tests.test_early_warning import BOUNDS
from tests.test_resume import build
from training.early_warning import BEST_BY, EarlyWarning, Watch
from training.interruption import Interruption


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
