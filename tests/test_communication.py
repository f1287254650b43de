"""What processes send each other: the formulas of --estimate by hand, and against bytes that are really sent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from estimate.communication import Traffic, traffic
from update.memory import Counts, Work

ROOT = Path(__file__).parent.parent


def work(**facts) -> Work:
    return Work(**{"patches": 0, "batch": 2, "rank": 8, "checkpointing": True, "weight_bytes": 2, "compute_bytes": 2,
                   "on_gpu": True, **facts})  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "parts", "recomputes", "expected"),
    [
        ({"processes": 1}, 2, True, Traffic()),
        # 2 x 3/4 of float32 gradients, once, whatever the passes
        ({"processes": 4}, 2, True, Traffic(gradients=2 * 0.75 * 4 * 100)),
        ({"processes": 4, "zero": 1}, 3, True, Traffic(gradients=0.75 * 200, weights=0.75 * 200)),
        ({"processes": 4, "zero": 2}, 3, True, Traffic(gradients=3 * 0.75 * 200, weights=0.75 * 200)),
        # forward, again, backward in each of two passes; one gather for the rollout of two updates
        (
            {"processes": 4, "zero": 3, "updates": 2}, 2, True,
            Traffic(2 * 0.75 * 200, 6 * 0.75 * 2000, 0.75 * 2000 / 2, 3),
        ),
        ({"processes": 2, "zero": 3}, 1, False, Traffic(0.5 * 200, 2 * 0.5 * 2000, 0.5 * 2000, 2)),
    ],
)  # fmt: skip
def test_bytes_by_hand(facts, parts, recomputes, expected):
    found = traffic(Counts(total=1000, trained=100), work(**facts), parts, recomputes)
    assert found == expected and found.total == expected.gradients + expected.weights + expected.rollout


@pytest.mark.slow
def test_two_processes_send_what_the_formula_says(tmp_path):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command = [sys.executable, *command, "tests.communication_processes", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        results = json.loads((tmp_path / f"sent_{rank}.json").read_text())
        for name, result in results.items():
            counts = Counts(total=3_000_000, trained=result["trained"])
            expected = traffic(counts, work(processes=2), parts=2, recomputes=False).total
            assert result["sent"] == pytest.approx([expected] * 2, rel=0.01), f"{name}, process {rank}"
