"""Does a long run leak? 2,000 updates of the embedded model, watched from outside: memory, open files, time per update.

    OMP_NUM_THREADS=1 python benchmarks/soak.py                 about 25 minutes on one core
    python benchmarks/soak.py --updates 200                     a first look

The run is main.py with evaluations and checkpoints on the way. Its learning rate is so small that completions keep
their length: what grows then is no longer work. Memory is the resident set of the process, time is processor time, both
as means over two stretches of a tenth of the run: the second, when everything has happened once, and the last. Both
are printed for every tenth as well, where a trend and a step can be told apart.

A machine is not equally fast for 25 minutes, and a borrowed one less so. So a small fixed piece of work is timed beside
the run, every few seconds; the seconds of an update over those of that work grow only if updates do. Tokens of the
tenths, as logged, say whether there was the same to do. The trend is a straight line through twentieths of the run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import numpy as np
import torch

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


def reference() -> float:
    """Processor seconds of fixed work of a small model's kind: products, memory, and many calls on little."""
    begin = time.process_time()
    weights = torch.linspace(-1, 1, 192 * 768).reshape(192, 768).requires_grad_()
    rows = torch.linspace(-1, 1, 2048 * 192).reshape(2048, 192)
    for _ in range(4):
        (torch.nn.functional.silu(rows @ weights) @ weights.T).square().mean().backward()
    small = rows[:8]
    for _ in range(3000):
        small = small * 0.5 + 0.25
    return time.process_time() - begin


def watch(updates: int, folder: Path) -> list[dict[str, float]]:
    """About four samples a second, each with the update that the run had reached, every sixteenth with the seconds of
    reference(). ValueError when the run fails."""
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
            if len(samples) % 16 == 0:
                samples[-1]["reference"] = reference()
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
    found["seconds"] = tuple(map(speed, stretches))
    found["relative"] = tuple(speed(part) / reference_of(part) for part in stretches)
    return found


def reference_of(stretch: list[dict[str, float]]) -> float:
    """Seconds of the fixed work during a stretch, mean."""
    return mean(one["reference"] for one in stretch if "reference" in one)


def speed(stretch: list[dict[str, float]]) -> float:
    """Processor seconds an update."""
    first, last = stretch[0], stretch[-1]
    return (last["seconds"] - first["seconds"]) / (last["update"] - first["update"])


def trend(samples: list[dict[str, float]], updates: int) -> tuple[float, float]:
    """Growth of update / reference from start to end, as a share of its mean, and its standard error."""
    parts = [[one for one in samples if one["update"] * 20 // updates == n] for n in range(1, 20)]
    ratios = np.array([speed(part) / reference_of(part) for part in parts])
    (slope, _), covariance = np.polyfit(np.linspace(0, 1, len(parts)), ratios / ratios.mean(), 1, cov=True)
    return slope, covariance[0, 0] ** 0.5


def tokens_by_tenths(logged: list[dict]) -> list[float]:
    """Tokens of prompts and completions that an update has, in each tenth of the run."""
    ends = [0, *(logged[len(logged) * n // 10 - 1]["num_tokens"] for n in range(1, 11))]
    return [(after - before) * 10 / len(logged) for before, after in itertools.pairwise(ends)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000)
    args = parser.parse_args(argv)
    if args.updates < 200:
        parser.error(f"--updates {args.updates}: must be at least 200, a tenth of which can be measured")
    with tempfile.TemporaryDirectory() as folder:
        samples = watch(args.updates, Path(folder))
        (state,) = Path(folder).glob("*/trainer_state.json")
        logged = [entry for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    steps = [entry["step"] for entry in logged]
    found = compare(samples, args.updates)
    print(
        f"{args.updates} updates, {len(samples)} samples; logged once each: {steps == list(range(1, args.updates + 1))}"
    )
    tenths = [[one for one in samples if one["update"] * 10 // args.updates == n] for n in range(10)]
    print("resident memory by tenths, MiB:", *(f"{mean(one['memory'] for one in part) / 2**20:.0f}" for part in tenths))
    print("processor s / update by tenths:", *(f"{speed(part):.3f}" for part in tenths))
    print("reference s by tenths:", *(f"{reference_of(part):.3f}" for part in tenths))
    print("update / reference by tenths:", *(f"{speed(part) / reference_of(part):.2f}" for part in tenths))
    print("tokens / update by tenths:", *(f"{tokens:.0f}" for tokens in tokens_by_tenths(logged)))
    print(f"{'':28}{'start':>12}{'end':>12}{'growth':>10}")
    units = {
        "memory": ("resident memory, MiB", 2**20),
        "files": ("open files", 1),
        "seconds": ("processor s / update", 1),
        "relative": ("update / reference", 1),
    }
    for name, (label, unit) in units.items():
        start, end = (value / unit for value in found[name])
        print(f"{label:28}{start:12.3f}{end:12.3f}{end / start - 1:+10.1%}")
    print("trend of update / reference, from start to end: {:+.1%} ± {:.1%}".format(*trend(samples, args.updates)))
    start, end = found["memory"]
    return int(end > start * (1 + MOST_GROWTH) or found["files"][1] > found["files"][0])


if __name__ == "__main__":
    sys.exit(main())
