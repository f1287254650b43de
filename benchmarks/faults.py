"""Faults of machines, caused on purpose in real runs, and what was lost by each: one table.

    OMP_NUM_THREADS=1 python benchmarks/faults.py                       everything: about an hour on two cores
    python benchmarks/faults.py --only kill-one-process bad-invocations

Moments, bytes and invocations come from a fixed seed. Every line runs in processes of its own; ✗ in front of a line
means that something was lost, and the exit code is then 1.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from common.commands import Parser, program

ROOT = Path(__file__).resolve().parent.parent
TESTS = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "slow or not slow"]
Outcome = tuple[bool, str]  # whether nothing was lost, and what was seen


@dataclass(frozen=True)
class Fault:
    """`command` is run with the name of an empty folder in place of FOLDER; `read` makes an outcome of its output."""

    name: str
    what: str
    command: list[str]
    read: Callable[[str], Outcome]


def _last_json(output: str) -> dict:
    return json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))


def kills(output: str) -> Outcome:
    found = _last_json(output)
    alone = f", {found['of_one_process']} of one process alone" if found["of_one_process"] else ""
    seen = f"{found['kills']} kills ({found['while_saving']} while saving{alone}); {found['equal']} of {found['runs']} "
    seen += "runs ended bit for bit like an unbroken one"
    return found["equal"] == found["runs"] and found["kills"] >= 20, seen


def full_disk(output: str) -> Outcome:
    found = _last_json(output)
    seen = f"{found['refused']} checkpoints refused; {found['went_on_equal']} of {found['rooms']} runs went on and "
    seen += f"{found['resumed_equal']} of {found['rooms']} were resumed, bit for bit"
    return found["went_on_equal"] == found["resumed_equal"] == found["rooms"] and found["refused"] > 0, seen


def invocations(output: str) -> Outcome:
    right, every = re.findall(r"^all\s+(\d+) of\s+(\d+)$", output, re.MULTILINE)[-1]
    return right == every and int(every) >= 200, f"{right} of {every}: one line, exit code 2, no file changed"


def tests(output: str) -> Outcome:
    closing = output.strip().splitlines()[-1].strip("= ")
    return "passed" in closing and "failed" not in closing and "error" not in closing, closing


def soak(output: str) -> Outcome:
    growth = dict(re.findall(r"^(resident memory|open files|processor s).*?([+-][\d.]+%)$", output, re.MULTILINE))
    flat = float(growth["resident memory"].rstrip("%")) <= 2 and float(growth["open files"].rstrip("%")) <= 0
    return flat, ", ".join(f"{name} {change}" for name, change in growth.items())


def python(*words: str) -> list[str]:
    return [sys.executable, *words]


FAULTS = (
    Fault("kill-one-process", "kill -9 of a two-epoch run", python("-m", "tests.kills", "FOLDER", "20"), kills),
    Fault("kill-zero3", "kill -9 of two ZeRO-3 processes", python("-m", "tests.kills", "FOLDER", "20", "2"), kills),
    Fault("full-disk", "a full disk while saving", python("-m", "tests.full_disk", "FOLDER", "1", "6"), full_disk),
    Fault("full-disk-zero3", "the same, two ZeRO-3 processes",
          python("-m", "tests.full_disk", "FOLDER", "2", "3"), full_disk),
    Fault("disk-and-backends", "read-only folders, lost logs", [*TESTS, "tests/test_disk.py"], tests),
    Fault("non-finite", "NaN and infinity, on one process too", [*TESTS, "tests/test_guard.py"], tests),
    Fault("processes", "rewards that raise, processes that hang", [*TESTS, "tests/test_processes.py"], tests),
    Fault("signals", "SIGTERM, SIGINT, kill -9 through main.py", [*TESTS, "tests/test_interruption.py"], tests),
    Fault("distrust", "foreign models, data and names", [*TESTS, *sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_distrust_*.py"))], tests),
    Fault("bad-invocations", "generated bad invocations", python("-m", "tests.bad_invocations"), invocations),
    Fault("soak", "2,000 updates", python("benchmarks/soak.py"), soak),
)  # fmt: skip


def outcome(fault: Fault) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        command = [word.replace("FOLDER", folder) for word in fault.command]
        environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        try:
            right, seen = fault.read(done.stdout)
        except (StopIteration, LookupError, ValueError):
            right, seen = False, f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
    return right and done.returncode == 0, seen


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    lost = False
    for fault in FAULTS:
        if fault.name in args.only:
            start = time.monotonic()
            right, seen = outcome(fault)
            lost |= not right
            print(f"{'✓' if right else '✗'} {fault.what:42}{time.monotonic() - start:6.0f} s  {seen}", flush=True)
    return int(lost)


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
