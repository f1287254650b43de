"""Runs that are told to stop, or killed, and go on: through main.py, and through the trainer with real signals."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from checkpoints.manifest import checkpoints, damage
from common.signals import StopSignals
from tests.test_resume import build, seen, weights
from training.interruption import Interruption

ROOT = Path(__file__).parent.parent
RUN = [
    "--mode", "w-reinforce", "--seed", "7", "--subset-size", "8", "--num-epochs", "2", "--batch-size", "2",
    "--num-generations", "4", "--updates-per-rollout", "2", "--max-completion-length", "24", "--save-steps", "3",
    "--eval-steps", "5", "--held-out", "0.01", "--report-to", "none",
]  # fmt: skip
FOLDER = "grpo-start-ckpts/tiny-prm-large-train-v2-w-reinforce-7"
STEPS = 16


class SignalAt(TrainerCallback):
    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.usefixtures("without_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_the_step_it_comes_in_and_the_run_goes_on_from_there(number, tmp_path, capfd):
    run = {"mode": "nsr", "updates": 2, "rows": 8, "save_steps": 100}
    unbroken = build(tmp_path / "unbroken", **run)
    unbroken.train()
    stopped = build(tmp_path / "stopped", **run)
    stopped.add_callback(SignalAt(4, number))
    before = signal.getsignal(number)
    with Interruption(stopped) as interruption:
        stopped.train()
    assert interruption.signal == number and signal.getsignal(number) is before
    assert [path.name for path in checkpoints(tmp_path / "stopped")] == ["checkpoint-5"]
    assert f"{signal.Signals(number).name}: saving after this step" in capfd.readouterr().err
    assert "same command and --resume" in interruption.line(tmp_path / "stopped" / "checkpoint-5")
    resumed = build(tmp_path / "stopped", **run)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-5"))
    assert torch.equal(weights(resumed), weights(unbroken)) and seen(resumed) == seen(unbroken)


@pytest.mark.usefixtures("without_nohup")
def test_a_terminal_that_closes_sends_several_hangups_and_ends_nothing_at_once(tmp_path):
    trainer = build(tmp_path, "nsr", 1, 8, save_steps=100)
    for _ in range(3):
        trainer.add_callback(SignalAt(1, signal.SIGHUP))
    with Interruption(trainer) as interruption:
        trainer.train()
    assert interruption.signal == signal.SIGHUP
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_a_hangup_that_nohup_has_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        trainer = build(tmp_path, "nsr", 1, 8, max_steps=3)
        trainer.add_callback(SignalAt(1, signal.SIGHUP))
        with Interruption(trainer) as interruption:
            trainer.train()
        with StopSignals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert interruption.signal is None and trainer.state.global_step == 3
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_the_last_step_finds_the_run_finished(tmp_path):
    trainer = build(tmp_path, "nsr", 1, 8, max_steps=2)
    trainer.add_callback(SignalAt(1, signal.SIGTERM))
    with Interruption(trainer) as interruption:
        trainer.train()
    assert interruption.signal is None and trainer.state.global_step == 2


def start(folder, *more, launcher=()):
    command = [sys.executable, *launcher, str(ROOT / "main.py"), *RUN, *more]
    log = (folder / "log").open("a")
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for(folder, text, process, timeout=300):
    """Until the run has printed `text`."""
    end = time.monotonic() + timeout
    while text not in (folder / "log").read_text():
        assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-3000:]
        time.sleep(0.1)


def finish(folder, *more, launcher=(), steps=STEPS):
    process = start(folder, *more, launcher=launcher)
    assert process.wait(600) == 0, (folder / "log").read_text()[-3000:]
    return outcome(folder, steps)


def outcome(folder, last=STEPS):
    history = json.loads((folder / FOLDER / "trainer_state.json").read_text())["log_history"]
    steps = [entry["step"] for entry in history if "loss" in entry]
    assert steps == list(range(1, last + 1)), "every step exactly once"
    measured = [entry["step"] for entry in history if "eval_decomposed/accuracy" in entry]
    assert measured == [*range(0, last, 5), last]
    return (folder / FOLDER / "adapter_model.safetensors").read_bytes(), [
        entry["loss"] for entry in history[:-1] if "loss" in entry
    ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("unbroken"))


@pytest.mark.slow
def test_sigterm_sigint_and_kill_9_through_main_and_resume_equal_an_uninterrupted_run(unbroken, tmp_path):
    resume = []
    for number, moment in ((signal.SIGTERM, "step 4:"), (signal.SIGINT, "step 8:")):
        process = start(tmp_path, *resume)
        wait_for(tmp_path, moment, process)
        process.send_signal(number)
        assert process.wait(120) == 128 + number
        resume = ["--resume"]
        log = (tmp_path / "log").read_text()
        newest = checkpoints(tmp_path / FOLDER)[0]
        assert (
            f"{number.name}: stopped; {FOLDER}/{newest.name} is saved. Go on with the same command and --resume" in log
        )
    refused = start(tmp_path, "--resume", "--learning-rate", "1e-3")
    assert refused.wait(120) == 2
    assert "other settings: learning_rate: 0.0003 -> 0.001" in (tmp_path / "log").read_text().splitlines()[-1]
    process = start(tmp_path, "--resume")
    wait_for(tmp_path, "step 13:", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    assert not any(damage(checkpoint) for checkpoint in checkpoints(tmp_path / FOLDER))
    torn = checkpoints(tmp_path / FOLDER)[0] / "optimizer.pt"  # with a hole, as a power cut may leave it
    whole, half = torn.read_bytes(), torn.stat().st_size // 2
    torn.write_bytes(whole[:half] + bytes(4096) + whole[half + 4096 :])
    assert finish(tmp_path, "--resume") == unbroken


@pytest.mark.usefixtures("without_nohup")
@pytest.mark.slow
def test_closing_the_terminal_saves_the_run_and_resume_equals_an_uninterrupted_one(unbroken, tmp_path):
    """The run is the foreground of a terminal of its own; closing the other end hangs it up, and stderr with it."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, str(ROOT / "main.py"), *RUN])
    shown = b""
    while b"step 4:" not in shown:
        shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert checkpoints(tmp_path / FOLDER) and finish(tmp_path, "--resume") == unbroken


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path):
    process = start(tmp_path, "--max-completion-length", "100", "--subset-size", "64", "--batch-size", "16")
    wait_for(tmp_path, "Training progress", process)
    process.send_signal(signal.SIGTERM)
    wait_for(tmp_path, "SIGTERM: saving after this step", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and not checkpoints(tmp_path / FOLDER)


@pytest.mark.slow
def test_two_launched_processes_stop_together_and_go_on(tmp_path):
    """That they end with the weights of an unbroken run under ZeRO-3 too, tests/test_resume.py holds."""
    launcher = ["-m", "accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}", "--num_processes"]
    more = ["--batch-size", "1", "--num-epochs", "1", "--subset-size", "6", "--max-completion-length", "8"]
    process = start(tmp_path, *more, launcher=[*launcher, "2"])
    wait_for(tmp_path, "step 3:", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) != 0
    log = (tmp_path / "log").read_text()
    assert log.count("is saved. Go on with the same command and --resume") == 1
    finish(tmp_path, *more, "--resume", launcher=[*launcher, "2"], steps=6)
