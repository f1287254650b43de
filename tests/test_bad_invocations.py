"""Hundreds of invocations that cannot work end in one clear line and exit code 2, change nothing, show no traceback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_invocations import KINDS


@pytest.mark.slow
def test_every_bad_invocation_is_refused_in_one_line_and_changes_nothing():
    """In a process of its own: there stderr is all that a user would see, whoever writes it."""
    command = [sys.executable, "-m", "tests.bad_invocations"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-5000:]
    counts = {
        kind.strip(): (int(good), int(all_)) for kind, good, all_ in re.findall(r"(.+?) +(\d+) of +(\d+)", done.stdout)
    }
    assert set(counts) == {*KINDS, "all", "as own processes"}
    assert all(good == every for good, every in counts.values()) and counts["all"][0] >= 200
