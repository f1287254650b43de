"""Names go through the shell scripts as they are: the scripts run with stand-ins that note their arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "a b'\"; $(touch owned) `touch owned` * \\ \x1b[2J\n-x"
STAND_IN = """#!/bin/bash
printf '%s\\0' "$(basename "$0")" "$@" >> "$ARGUMENTS"
exit 0
"""


@pytest.mark.parametrize(
    "script", ["poc_test_nsr.sh", "runs/tiny_gain.sh", "runs/lambda_sweep.sh", "runs/compare_modes.sh"]
)
def test_a_script_hands_every_name_on_as_one_argument(script, tmp_path):
    copy, stand_ins, arguments = tmp_path / "copy", tmp_path / "bin", tmp_path / "arguments"
    (copy / "runs").mkdir(parents=True)
    stand_ins.mkdir()
    for name in (script, "environment.sh"):
        shutil.copy(ROOT / name, copy / name)
    (copy / NAME).mkdir()
    for name in ("python", "accelerate"):
        (stand_ins / name).write_text(STAND_IN)
        (stand_ins / name).chmod(0o755)
    environment = {
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "VIRTUAL_ENV": "stand-in",
        "ARGUMENTS": str(arguments),
        "JOBS": "1",  # bash writes a line at a time, so two calls at a time would be noted within one another
        **dict.fromkeys(("MODEL", "DATASET", "RESULTS"), NAME),
    }
    flags = ["--folder", NAME] if script == "runs/lambda_sweep.sh" else ["--max-steps", NAME] * (script[0] == "p")
    done = subprocess.run([copy / script, *flags], env=environment, capture_output=True, text=True, timeout=60)
    assert not list(tmp_path.rglob("owned"))
    given = arguments.read_bytes().decode().split("\0")
    holding = [one for one in given if NAME in one]
    assert len(holding) >= (1 if script == "runs/lambda_sweep.sh" else 3), done.stderr
    assert all(one.startswith((NAME, "grpo-start-ckpts/")) for one in holding), "whole, with at most a path around it"
    assert not {"touch", "owned)", "b'\"", "-x"} & set(given)
