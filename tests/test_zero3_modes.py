"""A mode on two processes under ZeRO-3; `python -m tests.zero3_modes FOLDER` runs all of them, in some minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

MODE = "f-grpo"  # one that no other test launches so


@pytest.mark.slow
def test_a_mode_ends_on_two_processes_under_zero3_and_passes_its_reward_check(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.zero3_modes", str(tmp_path), MODE],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"✓ {MODE.upper()} validation passed" in done.stdout and f"✓ {MODE} ends on two" in done.stdout
