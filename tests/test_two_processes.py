"""Two processes give the advantages of one: groups straddle processes, counts and normaliser span both."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.two_processes import SHOWN
from trainers.trainer import TRAINERS

ROOT = Path(__file__).parent.parent


def run(folder, processes):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "tests.two_processes", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"results_{rank}.json").read_text()) for rank in range(processes)], done.stdout


@pytest.mark.slow
def test_two_processes_train_on_the_advantages_of_one(tmp_path):
    (ones,), printed_alone = run(tmp_path / "one", 1)
    (firsts, seconds), printed = run(tmp_path / "two", 2)
    plain = None
    for alone, first, second in zip(ones, firsts, seconds, strict=True):
        assert first["mode"] == second["mode"] == alone["mode"]
        assert first["trained_on"] + second["trained_on"] == alone["trained_on"]
        assert first["logged"] == alone["logged"] == alone["trained_on"]
        assert first["counts"] == second["counts"] == alone["counts"] == [2, 5, 1]
        assert first["weights"] == second["weights"] == pytest.approx(alone["weights"], abs=1e-7)
        assert first["gradient"] == pytest.approx(alone["gradient"], rel=1e-5)
        expected = sum(value != 0 for value in alone["trained_on"])
        assert first["computed"] + second["computed"] == alone["computed"] == expected, "every row of weight, once"
        if (alone["mode"], alone["update"], alone["generations"]) == ("psr", "shared", 2):
            assert first["computed"] == second["computed"] == 1, "one of the two prompts has changed process"
        if alone["update"] == "plain":
            plain = alone
        elif alone["generations"] == 2:
            assert alone["weights"] == pytest.approx(plain["weights"], abs=1e-7), "packed or in rows of their own"
    lines = [line for line in printed_alone.splitlines() if "Rewards Accuracy" in line or "Filtered" in line]
    # one run a mode and two more of some; two modes of those count what they have filtered
    assert len(lines) == len(TRAINERS) + 2 * len(SHOWN) + 3 * 2
    assert [printed.count(line) for line in lines] == [printed_alone.count(line) for line in lines], "once, from rank 0"
