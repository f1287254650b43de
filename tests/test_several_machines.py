"""Several machines: what tells them apart; and two, simulated as two launchers on one, each with its own process."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.after_run import same_weights
from tests.test_processes import children
from training.machines import first_difference

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "recipes" / "launch"
FLAGS = "--mode nsr --subset-size 64 --max-steps 6 --save-steps 2 --batch-size 1 --num-generations 4 --held-out 0"
FLAGS += " --max-completion-length 20 --report-to none --collective-timeout 10 --learning-rate 1e-3"


def test_machines_that_were_given_other_things_to_do_are_told_apart():
    one = {"settings": {"seed": 1, "output_root": "/a"}, "data": {"fingerprint": "x"}, "model": {"source": "/m"}}
    one["versions"] = {"torch": "2.15.0"}
    assert first_difference([one, {**one, "model": {"source": "/n"}}, {**one, "settings": {"seed": 1}}]) is None
    for group, other, said in [
        ("data", {"fingerprint": "y"}, "process 1 has data fingerprint y, process 0 has x"),
        ("settings", {"seed": 2}, "process 1 has settings seed 2, process 0 has 1"),
        ("versions", {"torch": "2.14.0"}, "process 1 has versions torch 2.14.0, process 0 has 2.15.0"),
        ("model", {"weights": {"a": "b"}}, "process 1 has model weights {'a': 'b'}, process 0 has None"),
        ("git_commit", "abc", "process 1 has code commit abc, process 0 has None"),
    ]:
        assert first_difference([one, {**one, group: other}]) == said


# -- two machines, simulated -------------------------------------------------------------------------------------------


class Machine:
    """One launcher with one process, which knows of the other by its address alone."""

    def __init__(self, folder: Path, rank: int, port: int, *words: str, machines: int = 2, gpus: int = 1, **more: str):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"MACHINES": machines, "MACHINE_RANK": rank, "MAIN_ADDRESS": "127.0.0.1", "PORT": port, "GPUS": gpus}
        environment = {**os.environ, "PATH": path, **{name: str(value) for name, value in own.items()}, **more}
        folder.mkdir(exist_ok=True)
        self.log = folder / f"log_{rank}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [LAUNCH / "machine.sh", *map(str, words)], env=environment, stdout=log, stderr=log
            )

    def said(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """As a machine that loses its power: the launcher and all that it has started."""
        pids = [self.process.pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                pids += children(pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def train(folder: Path, *more: str, **environment: str) -> tuple[Machine, Machine]:
    port, words = free_port(), (*FLAGS.split(), "--output-root", folder / "runs", *more)
    return Machine(folder, 0, port, *words, **environment), Machine(folder, 1, port, *words, **environment)


PATIENCE = 3600.0  # seconds; a loaded machine takes its time to start


def until(machine: Machine, text: str) -> None:
    end = time.monotonic() + PATIENCE
    while text not in machine.said():
        assert machine.process.poll() is None and time.monotonic() < end, machine.said()[-3000:]
        time.sleep(0.05)


@pytest.mark.slow
def test_two_machines_train_like_one_notice_that_one_is_gone_and_go_on(tmp_path):
    words = (*FLAGS.split(), "--output-root", tmp_path / "one" / "runs")
    alone = Machine(tmp_path / "one", 0, free_port(), *words, machines=1, gpus=2)
    first, second = train(tmp_path / "two")
    try:
        until(first, "step 3:")
        second.kill()
        since = time.monotonic()
        assert first.wait(PATIENCE) != 0
        took = time.monotonic() - since
        (line,) = [line for line in first.said().splitlines() if line.startswith("error:")]
        assert line.startswith("error: process 0 of 2: another process ") and "--resume" in line
        again = train(tmp_path / "two", "--resume")
        assert [machine.wait(PATIENCE) for machine in again] == [0, 0], again[0].said()[-3000:]
        assert alone.wait(PATIENCE) == 0, alone.said()[-3000:]
    finally:
        for machine in (alone, first, second):
            machine.kill()
    assert took < 240, "at once, and not after the ten minutes of --collective-timeout"
    same_weights(tmp_path / "one" / "runs", tmp_path / "two" / "runs")
    (state,) = (tmp_path / "two" / "runs").glob("*/checkpoint-6/trainer_state.json")
    steps = [entry["step"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    assert steps == list(range(1, 7)), "every update once"
    assert len(re.findall(r"step \d+: ", again[1].said())) == 0, "the second machine is silent"


@pytest.mark.slow
def test_two_machines_under_ddp_save_on_a_signal_to_one_and_go_on(tmp_path):
    words, ddp = (*FLAGS.split(), "--output-root", tmp_path / "one" / "runs"), {"LAUNCH": "recipes/launch/ddp.yaml"}
    alone = Machine(tmp_path / "one", 0, free_port(), *words, machines=1, gpus=2, **ddp)
    assert alone.wait(PATIENCE) == 0, alone.said()[-3000:]
    first, second = train(tmp_path / "two", "--save-steps", "100", **ddp)
    try:
        until(first, "step 2:")
        second.process.terminate()  # the launcher, as a scheduler does
        assert first.wait(PATIENCE) != 0 and second.wait(PATIENCE) != 0
    finally:
        for machine in (first, second):
            machine.kill()
    (saved,) = (tmp_path / "two" / "runs").glob("*/checkpoint-*")
    assert 2 <= int(saved.name.removeprefix("checkpoint-")) < 6
    again = train(tmp_path / "two", "--save-steps", "100", "--resume", **ddp)
    assert [machine.wait(PATIENCE) for machine in again] == [0, 0], again[0].said()[-3000:]
    same_weights(tmp_path / "one" / "runs", tmp_path / "two" / "runs")


@pytest.mark.slow
def test_machines_without_a_common_disk_are_told_so_before_a_model_is_loaded(tmp_path):
    port = free_port()
    pair = [Machine(tmp_path, n, port, *FLAGS.split(), "--output-root", tmp_path / f"disk{n}") for n in (0, 1)]
    codes = [machine.wait(PATIENCE) for machine in pair]
    assert all(codes), codes
    (line,) = [line for line in pair[0].said().splitlines() if line.startswith("error:")]
    assert "--output-root: process 1 of 2 does not see " in line and "on a disk that all machines share" in line
    assert "error:" not in pair[1].said(), "said once"


@pytest.mark.slow
def test_two_machines_share_the_problems_and_write_the_file_of_one(tmp_path):
    flags = "--checkpoint-path tiny --dataset-name synthetic --subset-size 4 --num-samples 2 --max-new-tokens 12"
    words = flags.split()
    port, shared = free_port(), {"PROGRAM": "generate_samples.py", "LAUNCH": "recipes/launch/ddp.yaml"}
    pair = [Machine(tmp_path, n, port, *words, "--output-path", tmp_path / "two.json", **shared) for n in (0, 1)]
    assert [machine.wait(PATIENCE) for machine in pair] == [0, 0], pair[0].said()[-3000:]
    alone = [sys.executable, ROOT / "generate_samples.py", *words, "--output-path", tmp_path / "one.json"]
    assert subprocess.run(alone, cwd=tmp_path, timeout=PATIENCE).returncode == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_fsdp2_trains_and_goes_on(tmp_path):
    """On CPUs, which accelerate is told to be GPUs (tests/fsdp2_on_cpu.py)."""
    more = {"PROGRAM": "tests/fsdp2_on_cpu.py", "LAUNCH": "recipes/launch/fsdp2.yaml", "PYTHONPATH": str(ROOT)}

    def run(name: str, updates: int, *words: str) -> str:
        words = (*FLAGS.split(), "--max-steps", updates, "--output-root", tmp_path / name / "runs", *words)
        machine = Machine(tmp_path / name, 0, free_port(), *words, machines=1, gpus=2, **more)
        assert machine.wait(PATIENCE) == 0, machine.said()[-3000:]
        return machine.said()

    assert "step 4:" in run("whole", 4)
    run("halves", 2)
    assert "step 3:" in run("halves", 4, "--resume")
    same_weights(tmp_path / "whole" / "runs", tmp_path / "halves" / "runs")
    (shards,) = (tmp_path / "whole" / "runs").glob("*/checkpoint-4/pytorch_model_fsdp.bin")
    assert shards.stat().st_size > 100_000, "what FSDP alone writes"
