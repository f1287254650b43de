"""Does a long run leak? 2,000 updates of the embedded model, watched from outside: memory, open files, time per update.

    OMP_NUM_THREADS=1 python benchmarks/soak.py                 about 30 minutes
    python benchmarks/soak.py --updates 200                     a first look

The run is main.py with evaluations and checkpoints on the way. Its learning rate is so small that completions keep
their length: what grows then is no longer work. Resident memory (mean) and open files (median) are those of two tenths
of the run: the second, when everything has happened once, and the last.

Time is processor time. A machine is not equally fast for half an hour, so the early updates of a run say little about
its late ones. What is compared instead is the same late updates, done twice: by the run, which is old by then, and by a
twin that resumed from its checkpoint at nine tenths. The two take turns of a few seconds, so a slow stretch of the
machine meets both. Were updates to grow slower with the age of a process, the old one would be the slower.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev

sys.path.insert(0, str(Path(__file__).parent.parent))

from common.commands import Parser, check_least, program

ROOT = Path(__file__).resolve().parent.parent
MOST_GROWTH = 0.02
STEP = re.compile(r"^step (\d+):", re.MULTILINE)
TICKS = os.sysconf("SC_CLK_TCK")
TURN = 5.0  # seconds
BLOCKS = 8  # stretches of the last updates over which old and new are compared
T_OF_BLOCKS = 2.36  # Student's t with 7 degrees of freedom, two-sided 95 %


def command(updates: int, folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "main.py"), "--mode", "nsr", "--vlm-name", "tiny", "--dataset-name", "synthetic"),
        *("--subset-size", str(updates), "--max-steps", str(updates), "--learning-rate", "1e-12", "--held-out", "0.02"),
        *("--eval-steps", str(updates // 20), "--save-steps", str(updates // 20), "--save-total-limit", "2"),
        *("--report-to", "none", "--disable-gradient-checkpointing", "--output-root", str(folder), *more),
    ]


@dataclass
class Watched:
    """A run of main.py with what was seen of it, about four times a second."""

    process: subprocess.Popen
    log: Path
    samples: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, updates: int, folder: Path, *more: str) -> Watched:
        folder.mkdir(exist_ok=True)
        log = folder / "log"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        with log.open("w") as file:
            arguments = command(updates, folder, *more)
            return cls(subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, env=environment), log)

    def goes_on(self) -> bool:
        """Looks once, after a quarter of a second. ValueError when the run has failed."""
        time.sleep(0.25)
        if self.process.poll() is None:
            try:
                now = look(self.process.pid)
            except OSError:  # it ended in between
                return True
            if reached := STEP.findall(self.log.read_text(errors="replace")[-4000:]):
                self.samples.append({**now, "update": int(reached[-1])})
            return True
        if self.process.returncode:
            raise ValueError(f"exit code {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return False

    @property
    def update(self) -> float:
        return self.samples[-1]["update"] if self.samples else 0

    def goes_on_to(self, update: float, seconds: float = float("inf")) -> bool:
        """Whether the run is not over when it has reached `update`, or `seconds` have passed."""
        end = time.monotonic() + seconds
        while alive := self.goes_on():
            if self.update >= update or time.monotonic() > end:
                break
        return alive

    def seconds_at(self, update: float) -> float:
        """Processor seconds when it was first seen to have reached an update."""
        return next(one["seconds"] for one in self.samples if one["update"] >= update)


def look(process: int) -> dict[str, float]:
    """Resident bytes, open files and processor seconds of a process. OSError when it is gone."""
    root = Path("/proc") / str(process)
    fields = (root / "stat").read_text().rpartition(")")[2].split()
    return {
        "memory": int((root / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "files": len(list((root / "fd").iterdir())),
        "seconds": (int(fields[11]) + int(fields[12])) / TICKS,
    }


def watch(updates: int, folder: Path) -> tuple[Watched, Watched]:
    """The run, and its twin of the last tenth. ValueError when one of them fails; neither is left running."""
    runs = [Watched.start(updates, folder / "old")]
    try:
        (old,) = runs
        if not old.goes_on_to(0.9 * updates + 2):
            raise ValueError("the run ended before it was seen to reach nine tenths")
        old.process.send_signal(signal.SIGSTOP)
        (settings,) = (folder / "old").glob("*/training_settings.json")
        shutil.copytree(settings.parent, folder / "new" / settings.parent.name)
        runs.append(new := Watched.start(updates, folder / "new", "--resume"))
        new.goes_on_to(old.update)
        take_turns(new, old)
    finally:
        for run in runs:
            run.process.kill()
            run.process.wait()
    return old, new


def take_turns(running: Watched, waiting: Watched) -> None:
    """Lets one of two runs go on at a time, until both are over; the second is stopped at first."""
    while running.goes_on_to(float("inf"), TURN):
        running.process.send_signal(signal.SIGSTOP)
        waiting.process.send_signal(signal.SIGCONT)
        running, waiting = waiting, running
    waiting.process.send_signal(signal.SIGCONT)
    waiting.goes_on_to(float("inf"))


def growth(samples: list[dict[str, float]], updates: int) -> dict[str, tuple[float, float]]:
    """Name -> (at the start, at the end): over updates [10 %, 20 %) and [90 %, 100 %)."""
    stretches = [
        [one for one in samples if low * updates <= one["update"] < high * updates]
        for low, high in ((0.1, 0.2), (0.9, 1))
    ]
    typical = {"memory": mean, "files": median}  # a file that is open while saving is no leak
    return {name: tuple(of(one[name] for one in part) for part in stretches) for name, of in typical.items()}


def blocks(run: Watched, updates: int) -> list[float]:
    """Processor seconds an update, in equal stretches between 92 % and the last update but one."""
    ends = [round(updates * 0.92 + n * (updates * 0.08 - 1) / BLOCKS) for n in range(BLOCKS + 1)]
    return [(run.seconds_at(end) - run.seconds_at(start)) / (end - start) for start, end in itertools.pairwise(ends)]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--updates", type=int, default=2000, help="at least 200, a tenth of which can be measured")
    return check_least(parser.parse_args(argv), updates=200)


def measure_all(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped run is left behind
    with tempfile.TemporaryDirectory() as folder:
        old, new = watch(args.updates, Path(folder))
        (state,) = (Path(folder) / "old").glob("*/trainer_state.json")
        steps = [entry["step"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    once = steps == list(range(1, args.updates + 1))
    print(f"{args.updates} updates; logged once each: {once}")
    tenths = [[one for one in old.samples if one["update"] * 10 // args.updates == n] for n in range(10)]
    print("resident memory by tenths, MiB:", *(f"{mean(one['memory'] for one in part) / 2**20:.0f}" for part in tenths))
    print(f"{'':28}{'start':>12}{'end':>12}{'growth':>10}")
    found = growth(old.samples, args.updates)
    for name, label, unit in (("memory", "resident memory, MiB", 2**20), ("files", "open files", 1)):
        start, end = (value / unit for value in found[name])
        print(f"{label:28}{start:12.3f}{end:12.3f}{end / start - 1:+10.1%}")
    print(f"{'':28}{'new':>12}{'old':>12}{'growth':>10}")
    ours, twins = blocks(old, args.updates), blocks(new, args.updates)
    start, end = mean(twins), mean(ours)
    print(f"{'processor s / update':28}{start:12.3f}{end:12.3f}{end / start - 1:+10.1%}")
    error = stdev(a / b for a, b in zip(ours, twins, strict=True)) / BLOCKS**0.5
    print(f"{'standard error':28}{'':24}{error:10.1%}")
    low, high = (end / start - 1 + sign * T_OF_BLOCKS * error for sign in (-1, 1))
    print(f"the old process is slower by {low:+.1%} to {high:+.1%} (95 %)")
    slower = low > 0 and end > start * (1 + MOST_GROWTH)
    start, end = found["memory"]
    return int(not once or slower or end > start * (1 + MOST_GROWTH) or found["files"][1] > found["files"][0])


main = program(parse_args, measure_all)

if __name__ == "__main__":
    sys.exit(main())
