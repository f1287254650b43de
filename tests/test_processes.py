"""Processes that stay together: what goes wrong on one of them is decided alike on all, and no wait is without end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from common.processes import left_alone
from tests import one_layer
from tests.one_layer import WORDS, accuracy, brevity
from trainers.trainer import TRAINERS
from training.report import Bystander, make_bystanders
from training.rows import check_images
from update.reward_errors import RewardByRow

ROOT = Path(__file__).parent.parent
MIXED = ["a b .", "b c d .", "c .", "d a ."]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(log: Path, text: str, process, seconds: float = 200) -> None:
    """Until the run has printed `text`."""
    end = time.monotonic() + seconds
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.1)


# -- rewards that raise -----------------------------------------------------------------------------------------------


def fails_on(word):
    def accuracy(completions, completion_ids, **columns):
        if any(WORDS.index(word) in ids for ids in completion_ids):
            raise ZeroDivisionError(f"on {word}")
        return one_layer.accuracy(completions, completion_ids)

    return accuracy


def run(folder, *rewards, updates=2, **settings):
    trainer = one_layer.trainer(TRAINERS["nsr"], folder, rewards=rewards, max_steps=updates, rows=8, **settings)
    one_layer.fix_rollouts(trainer, MIXED)
    trainer.train()
    return trainer, [entry for entry in trainer.state.log_history if "loss" in entry]


def test_a_reward_that_raises_costs_its_rows_alone(tmp_path, capsys):
    trainer, log = run(tmp_path, fails_on("d"), brevity)
    assert [entry["decomposed/reward_errors"] for entry in log] == [2, 2]
    assert [entry["decomposed/unscorable"] for entry in log] == [2, 2]
    assert [entry["decomposed/negative"] for entry in log] == [1, 1], "an error is never a wrong answer"
    said = capsys.readouterr().out
    assert said.count("reward 'accuracy' raised for 2 of 4 completions") == 1, "told once, counted always"
    assert "ZeroDivisionError: on d" in said and trainer.unhealthy is None


def test_a_second_reward_that_raises_leaves_the_sign_alone(tmp_path):
    def brevity(completions, completion_ids, **columns):
        return ["no number" if len(ids) > 2 else 1.0 for ids in completion_ids]

    _, log = run(tmp_path, accuracy, brevity)
    assert log[0]["decomposed/reward_errors"] == 3 and log[0]["decomposed/unscorable"] == 0
    assert log[0]["decomposed/negative"] == 3 and log[0]["rewards/brevity/mean"] == 1.0


def test_a_reward_that_always_raises_ends_the_run(tmp_path):
    trainer, log = run(tmp_path, fails_on("a"), lambda **columns: [1 / 0] * 4, updates=4, save_strategy="steps")
    assert trainer.state.global_step == 1 and (tmp_path / "checkpoint-1").is_dir()
    assert "reward '<lambda>' raised for 4 of 4 completions" in trainer.unhealthy
    assert log[0]["decomposed/reward_errors"] == 6


def test_a_reward_is_asked_row_by_row_only_after_an_error():
    asked = []

    def counts(completions, given, state):
        asked.append(len(completions))
        if "bad" in completions:
            raise KeyError("bad")
        return [len(one) + value + state for one, value in zip(completions, given, strict=True)]

    reward = RewardByRow(counts)
    assert reward(completions=["a", "bb"], given=[1, 2], state=10) == [12.0, 14.0] and asked == [2]
    assert reward(completions=["a", "bad"], given=[1, 2], state=10) == [12.0, None] and asked == [2, 2, 1, 1]
    assert reward.errors == ["KeyError: 'bad'"] and reward.rows == 4
    assert RewardByRow(lambda completions: [1.0])(completions=["a", "b"]) == [1.0, 1.0], "one reward for two rows"


@pytest.mark.parametrize(("text", "said"), [("\nbad row\n", "ValueError: bad row"), ("", "ValueError")])
def test_what_a_reward_has_raised_is_told_in_its_first_words(text, said):
    def refuses(completions):
        raise ValueError(text)

    reward = RewardByRow(refuses)
    assert reward(completions=["a"]) == [None] and reward.errors == [said]


# -- rows without images, logging backends ----------------------------------------------------------------------------


def test_questions_with_and_without_image_are_refused_together():
    class Question:
        def __init__(self, open_image):
            self.open_image = open_image

    check_images([])
    check_images([Question(None)] * 2)
    check_images([Question(open)] * 2)
    with pytest.raises(ValueError, match="1 of 3 questions have no image"):
        check_images([Question(open), Question(None), Question(open)])


def test_a_backend_that_fails_is_told_once_and_left_out(tmp_path, capsys, monkeypatch):
    (tmp_path / "logs").write_text("a file where the backend wants a folder")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path, rows=8, max_steps=2, report_to="tensorboard")
    make_bystanders(trainer)
    (backend,) = [one for one in trainer.callback_handler.callbacks if isinstance(one, Bystander)]
    one_layer.fix_rollouts(trainer, MIXED)
    trainer.train()
    assert backend.failed and trainer.state.global_step == 2
    assert capsys.readouterr().out.count("Warning: TensorBoard has failed") == 1


@pytest.mark.slow
def test_a_run_whose_wandb_service_is_killed_goes_on_and_ends(tmp_path):
    flags = "--mode nsr --subset-size 12 --batch-size 2 --num-generations 4 --max-completion-length 20 --held-out 0"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *flags.split()], cwd=tmp_path, stdout=log, stderr=log
        )
    wait_for(tmp_path / "log", "step 2:", process)
    killed = [p for p in children(process.pid) if b"wandb-core" in Path(f"/proc/{p}/cmdline").read_bytes()]
    for service in killed:
        os.kill(service, signal.SIGKILL)
    assert killed and process.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]
    said = (tmp_path / "log").read_text()
    assert said.count("Warning: Wandb has failed") == 1 and "✓ Model saved to" in said and "Traceback" not in said


# -- processes that are gone or stuck ---------------------------------------------------------------------------------


def test_only_failed_exchanges_are_told_as_such():
    stuck = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:129] Timed out waiting 12000ms for send operation")
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:8834")
    assert "has not answered within --collective-timeout" in left_alone(stuck)
    assert "process 0 of 1: another process is gone" in left_alone(gone)
    assert left_alone(torch.distributed.DistError("")).endswith("the other processes failed: DistError")
    assert left_alone(RuntimeError("\nGloo: bad header\n")).endswith("processes failed: Gloo: bad header")
    assert left_alone(RuntimeError("CUDA out of memory")) is None and left_alone(ValueError("gloo")) is None


@pytest.mark.slow
def test_a_process_of_two_that_hangs_ends_the_run_in_time_and_in_one_line(tmp_path):
    launcher = ["-m", "accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}"]
    flags = "--mode nsr --subset-size 64 --batch-size 1 --num-generations 4 --max-completion-length 20 --held-out 0"
    more = ["--num_processes", "2", str(ROOT / "main.py"), *flags.split(), "--collective-timeout", "0.2"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *launcher, *more, "--report-to", "none"], cwd=tmp_path, stdout=log, stderr=log
        )
    wait_for(tmp_path / "log", "step 2:", process)
    (second,) = [p for p in children(process.pid) if b"\0LOCAL_RANK=1\0" in Path(f"/proc/{p}/environ").read_bytes()]
    os.kill(second, signal.SIGSTOP)
    wait_for(tmp_path / "log", "error: process 0 of 2", process, seconds=30)  # 12, and some to go
    os.kill(second, signal.SIGKILL)  # the launcher would do it after 30 seconds
    assert process.wait(60) != 0
    lines = (tmp_path / "log").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("error:")]
    assert "another process has not answered within --collective-timeout; go on with the same command" in line


@pytest.mark.slow
def test_a_reward_that_raises_and_rows_that_are_nothing_on_one_process_of_two_hang_nobody(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.one_process_differs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, ranks in json.loads(done.stdout.splitlines()[-1]).items():
        assert ranks[0] == ranks[1], f"{name}: the same weights, counts and end on both"
        assert ranks[0]["steps"] == (1 if name == "always raises" else 3), name
        assert bool(ranks[0]["unhealthy"]) == (name == "always raises")
        assert ranks[0]["errors"] == {"raises": 2, "always raises": 8}.get(name, 0)
