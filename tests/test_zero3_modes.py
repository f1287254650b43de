"""main.py --mode X for every mode on two processes under ZeRO-3: tests/zero3_modes.py, which runs by itself as well."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainers import METHODS


@pytest.mark.slow
def test_every_mode_ends_on_two_processes_under_zero3_and_passes_its_reward_check(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.zero3_modes", str(tmp_path)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for mode in METHODS:
        assert f"✓ {mode.upper()} validation passed" in done.stdout and f"✓ {mode} ends on two" in done.stdout
