"""A stage's samples file and run folder -> one small JSON file: right samples per problem, rates, training curves.

{"stage": {...}, "commands": [...], "sampling": {...}, "problem_set", "n": 256, "c": [...], "rates": {...},
 "taken": {"quick": [...], ...}, "right": {"quick": [...], ...},
 "training": {"update": [...], "entropy": [...], ...}, "held_out": {"update": [...], "accuracy": [...]},
 "warnings": {"entropy": 140}, "versions": {...}}

`taken` and `right` have one number a problem for every way to answer (organism/answering.py) that occurs: completions
that took it, and those of them that were right. Only charts of the data set procedures have ways.

What organism.measure found has `{"stage", "commands", "kinds": ["sum plain", ...], "openings": {"careful": [...], ...},
"forced": {"plain": 99.8, "marked": 94.7}}`: the probability of a way's first words at every problem, and how often the
careful way came to the right answer (%) when completions had to begin with it.

The problems themselves (id, chart, kind, whether yes or no answers it) are the same for every stage of one problem set
and are kept once beside the stages, in problems_<problem_set>.json.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from common.files import write_whole
from evaluation.metrics import Details
from evaluation.results import to_text
from evaluation.samples import read_samples
from organism.answering import OTHER, PROCEDURES, SOUND, procedure_of

CURVES = {
    "accuracy": "decomposed/accuracy", "entropy": "entropy", "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio", "format": "rewards/format/mean", "kept": "decomposed/kept_share",
    "clipped": "clip_ratio/region_mean", "gradient": "grad_norm",
}  # fmt: skip
HELD_OUT = "eval_decomposed/accuracy"
POINTS = 30  # of a training curve: means over as many equal stretches of updates


def keep(samples: Path, output: Path, *, stage: dict, commands: list[str], run_folder: Path | None) -> None:
    """Writes `output` and, once, the problems beside it. Raises ValueError when samples are missing."""
    details, ways = Details(), Ways()

    def visit(problem: dict, right: list[bool]) -> None:
        details.visit(problem, right)
        ways.visit(problem, right)

    read = read_samples(samples, visit=visit)
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
        **ways.counts(),
        "training": training_curves(updates) if updates else {},
        "held_out": held_out(run_folder) if run_folder else {},
        "warnings": warnings_of(updates, stage["mode"]) if updates else {},
        "versions": settings.get("versions"),
    }
    write_whole(output, to_text(content))


def keep_scored(measured: Path, output: Path, *, stage: dict, commands: list[str]) -> None:
    """Writes `output`, of the ways that are sound, from what organism.measure wrote."""
    found = json.loads(measured.read_text(encoding="utf-8"))
    rows = found["rows"]
    openings = {way: [float(f"{row['openings'][way]:.4g}") for row in rows] for way in SOUND}
    content = {"kinds": [row["kind"] for row in rows], "openings": openings, "forced": found["forced"]}
    write_whole(output, to_text({"stage": stage, "commands": commands, **content}))


class Ways:
    """Collects, while a samples file is read, how many completions of a problem took each way, and were right."""

    def __init__(self) -> None:
        self.of: list[tuple[Counter[str], Counter[str]]] = []  # a problem each

    def visit(self, problem: dict, right: list[bool]) -> None:
        if problem.get("source") == "procedures":
            ways = [procedure_of(text, problem["question"]) for text in problem["samples"]]
            self.of.append((Counter(ways), Counter(way for way, hit in zip(ways, right, strict=True) if hit)))

    def counts(self) -> dict[str, dict[str, list[int]]]:
        """{"taken": {way: one number a problem}, "right": the same}; {} where there are no ways."""
        names = [way for way in (*PROCEDURES, OTHER) if any(taken[way] for taken, _ in self.of)]
        parts = {"taken": 0, "right": 1} if names else {}
        return {part: {way: [both[place][way] for both in self.of] for way in names} for part, place in parts.items()}


def log_of(run_folder: Path) -> list[dict]:
    """What was logged at every update of a run."""
    return [entry for entry in _history(run_folder) if "loss" in entry]


def held_out(run_folder: Path) -> dict[str, list[float]]:
    """Accuracy on the held-out charts and the updates that it was measured after."""
    measured = [entry for entry in _history(run_folder) if HELD_OUT in entry]
    accuracy = [round(entry[HELD_OUT], 4) for entry in measured]
    return {"update": [entry["step"] for entry in measured], "accuracy": accuracy}


def _history(run_folder: Path) -> list[dict]:
    return json.loads((run_folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


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
