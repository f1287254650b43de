"""Does a long run leak? 2,000 updates of the embedded model, watched from outside: memory, open files, time per update.

    OMP_NUM_THREADS=1 python benchmarks/soak.py                 about 25 minutes on one core
    python benchmarks/soak.py --updates 200                     a first look

The run is main.py with evaluations and checkpoints on the way. Its learning rate is so small that completions keep
their length: what grows then is no longer work. Memory is the resident set of the process, time is processor time, both
as means over two stretches of a tenth of the run: the second, when everything has happened once, and the last. Both
are printed for every tenth as well, where a trend and a step can be told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
MOST_GROWTH = 0.02
STEP = re.compile(r"^step (\d+):", re.MULTILINE)
TICKS = os.sysconf("SC_CLK_TCK")


def command(updates: int, folder: Path) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "main.py"), "--mode", "nsr", "--vlm-name", "tiny", "--dataset-name", "synthetic"),
        *("--subset-size", str(updates), "--max-steps", str(updates), "--learning-rate", "1e-12", "--held-out", "0.02"),
        *("--eval-steps", str(updates // 20), "--save-steps", str(updates // 20), "--save-total-limit", "2"),
        *("--report-to", "none", "--disable-gradient-checkpointing", "--output-root", str(folder)),
    ]


def sample(process: int) -> dict[str, float]:
    """Resident bytes, open files and processor seconds of a process. ProcessLookupError or OSError when it is gone."""
    root = Path("/proc") / str(process)
    fields = (root / "stat").read_text().rpartition(")")[2].split()
    return {
        "memory": int((root / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "files": len(list((root / "fd").iterdir())),
        "seconds": (int(fields[11]) + int(fields[12])) / TICKS,
    }


def watch(updates: int, folder: Path) -> list[dict[str, float]]:
    """About four samples a second, each with the update that the run had reached. ValueError when the run fails."""
    log = folder / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        run = subprocess.Popen(command(updates, folder), stdout=file, stderr=subprocess.STDOUT, env=environment)
    samples = []
    while run.poll() is None:
        time.sleep(0.25)
        try:
            now = sample(run.pid)
        except OSError:
            break
        reached = STEP.findall(log.read_text(errors="replace")[-4000:])
        if reached:
            samples.append({**now, "update": int(reached[-1])})
    if run.wait():
        raise ValueError(f"the run ended with exit code {run.returncode}: {log.read_text()[-2000:]}")
    return samples


def compare(samples: list[dict[str, float]], updates: int) -> dict[str, tuple[float, float]]:
    """Name -> (at the start, at the end): means over updates [10 %, 20 %) and [90 %, 100 %)."""
    stretches = [
        [one for one in samples if low * updates <= one["update"] < high * updates]
        for low, high in ((0.1, 0.2), (0.9, 1))
    ]
    found = {name: tuple(mean(one[name] for one in part) for part in stretches) for name in ("memory", "files")}
    return {**found, "seconds": tuple(map(speed, stretches))}


def speed(stretch: list[dict[str, float]]) -> float:
    """Processor seconds an update."""
    first, last = stretch[0], stretch[-1]
    return (last["seconds"] - first["seconds"]) / (last["update"] - first["update"])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000)
    args = parser.parse_args(argv)
    if args.updates < 200:
        parser.error(f"--updates {args.updates}: must be at least 200, a tenth of which can be measured")
    with tempfile.TemporaryDirectory() as folder:
        samples = watch(args.updates, Path(folder))
        (state,) = Path(folder).glob("*/trainer_state.json")
        steps = [entry["step"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    found = compare(samples, args.updates)
    print(
        f"{args.updates} updates, {len(samples)} samples; logged once each: {steps == list(range(1, args.updates + 1))}"
    )
    tenths = [[one for one in samples if one["update"] * 10 // args.updates == n] for n in range(10)]
    print("resident memory by tenths, MiB:", *(f"{mean(one['memory'] for one in part) / 2**20:.0f}" for part in tenths))
    print("processor s / update by tenths:", *(f"{speed(part):.3f}" for part in tenths))
    print(f"{'':28}{'start':>12}{'end':>12}{'growth':>10}")
    units = {
        "memory": ("resident memory, MiB", 2**20),
        "files": ("open files", 1),
        "seconds": ("processor s / update", 1),
    }
    for name, (label, unit) in units.items():
        start, end = (value / unit for value in found[name])
        print(f"{label:28}{start:12.3f}{end:12.3f}{end / start - 1:+10.1%}")
    start, end = found["memory"]
    return int(end > start * (1 + MOST_GROWTH) or found["files"][1] > found["files"][0])


if __name__ == "__main__":
    sys.exit(main())
