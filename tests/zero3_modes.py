"""main.py with every mode on two processes under DeepSpeed ZeRO-3: it ends, saves, and its log passes the reward check.

`python -m tests.zero3_modes FOLDER [MODE ...]`, in a process of its own: two updates of 16 completions by the embedded
model for each mode. A line a mode; the logs are FOLDER/<mode>/out_0 and err_0.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

import main as program
import training.building
import training.preparing
import training.run  # noqa: F401  (imported before the fork, as the others)
from evaluation.validate_rewards import main as validate_rewards
from tests import forked
from tests.scored import flags_of
from trainers import METHODS

FLAGS = """--vlm-name tiny --dataset-name synthetic --subset-size 8 --num-generations 4 --batch-size 8
--gradient-accumulation-steps 1 --max-completion-length 96 --held-out 0 --report-to none --output-root runs"""
SECONDS = 1800.0  # a mode takes half a minute of two cores


def train(folder: Path, mode: str) -> None:
    os.chdir(folder)
    sys.exit(program.main([*flags_of(mode), *FLAGS.split()]))


def fault(folder: Path, mode: str) -> str | None:
    """What is wrong with the run of a mode; None where nothing is."""
    try:
        codes = forked.wait(forked.start(functools.partial(train, mode=mode), folder, 2), SECONDS)
    except AssertionError as error:
        return f"{error} within {SECONDS:g} s: see {folder}/err_0"
    if any(codes):
        return f"exit codes {codes}: see {folder}/err_0"
    (run,) = (folder / "runs").iterdir()
    settings = json.loads((run / "training_settings.json").read_text(encoding="utf-8"))
    if not settings["finished"] or settings["settings"]["num_processes"] != 2:
        return f"{run} is not the finished run of two processes"
    if validate_rewards([str(folder / "out_0"), "--mode", mode]):
        return "the reward check fails"
    return None


def main(folder: str, *modes: str) -> int:
    failed = False
    for mode in modes or METHODS:
        wrong = fault(Path(folder, mode).resolve(), mode)
        print(f"✗ {mode}: {wrong}" if wrong else f"✓ {mode} ends on two processes under ZeRO-3", flush=True)
        failed |= wrong is not None
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
