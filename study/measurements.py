"""A stage's samples file and run folder -> one small JSON file: right samples per problem, rates, training curves.

{"stage": {...}, "commands": [...], "sampling": {...}, "problem_set", "n": 256, "c": [...], "rates": {...},
 "training": {"update": [...], "entropy": [...], ...}, "warnings": {"entropy": 140}, "versions": {...}}

The problems themselves (id, chart, kind, whether yes or no answers it) are the same for every stage of one problem set
and are kept once beside the stages, in problems_<problem_set>.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from common.files import write_whole
from evaluation.metrics import Details
from evaluation.results import to_text
from evaluation.samples import read_samples

CURVES = {
    "accuracy": "decomposed/accuracy",
    "entropy": "entropy",
    "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "format": "rewards/format/mean",
    "kept": "decomposed/kept_share",
    "clipped": "clip_ratio/region_mean",
    "gradient": "grad_norm",
}
POINTS = 30  # of a training curve: means over as many equal stretches of updates


def keep(samples: Path, output: Path, *, stage: dict, commands: list[str], run_folder: Path | None) -> None:
    """Writes `output` and, once, the problems beside it. Raises ValueError when samples are missing."""
    details = Details()
    read = read_samples(samples, visit=details.visit)
    kept = [details.of[name] for name in read.ids]
    if read.unsampled or len(set(read.n.tolist())) != 1:
        raise ValueError(f"{samples}: not every problem has as many samples as the others")
    problem_set = read.fingerprint()
    problems = {"ids": read.ids, "clusters": read.clusters, "kinds": read.kinds, "yes_no": [p["yes_no"] for p in kept]}
    beside = output.parent / f"problems_{problem_set}.json"
    if not beside.exists():
        write_whole(beside, to_text(problems))
    elif json.loads(beside.read_text(encoding="utf-8"))["ids"] != read.ids:
        raise ValueError(f"{samples} has the problems of {beside} in another order")
    settings = read.settings
    updates = log_of(run_folder) if run_folder else []
    content = {
        "stage": stage,
        "commands": commands,
        "sampling": settings.get("sampling"),
        "problem_set": problem_set,
        "n": int(read.n[0]),
        "c": read.c.tolist(),
        "rates": {
            name: round(float(np.mean([p[name] for p in kept])), 5) for name in ("well_formed", "truncated", "tokens")
        },
        "training": training_curves(updates) if updates else {},
        "warnings": warnings_of(updates, stage["mode"]) if updates else {},
        "versions": settings.get("versions"),
    }
    write_whole(output, to_text(content))


def log_of(run_folder: Path) -> list[dict]:
    """What was logged at every update of a run."""
    history = json.loads((run_folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [entry for entry in history if "loss" in entry]


def training_curves(updates: list[dict]) -> dict[str, list[float]]:
    """Means of what was logged over at most `POINTS` equal stretches of updates; `update` is the last of each.

    Most is logged once per rollout batch, so a stretch is never shorter than one.
    """
    rollouts = sum("decomposed/negative" in entry for entry in updates)
    stretches = np.array_split(np.arange(len(updates)), min(POINTS, rollouts))
    curves: dict[str, list[float]] = {"update": [int(updates[part[-1]]["step"]) for part in stretches]}
    for name, key in CURVES.items():
        values = [[updates[i][key] for i in part if updates[i].get(key) is not None] for part in stretches]
        if all(values):
            curves[name] = [float(f"{np.mean(part):.4g}") for part in values]
    return curves


def warnings_of(updates: list[dict], mode: str) -> dict[str, int]:
    """Early warning -> the first update that main.py, with its default bounds, would have given it at."""
    from settings.arguments import parse_args
    from training.early_warning import Watch, bounds_of

    args = parse_args(["--mode", mode])
    watch = Watch(mode, args.warn_window, bounds_of(args))
    first: dict[str, int] = {}
    for entry in updates:
        for sign, _ in watch.add(entry):
            first.setdefault(sign, entry["step"])
    return first
