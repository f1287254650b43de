"""The tables of what makes the methods differ, of ten times the updates and of lambda, from the kept counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.names import display_name
from study import ablations, plan, sweep
from study.plan import Size
from study.stages import Stage
from study.summary import Arm, difference, read_arm
from study.tables import kinds, markdown, rates_chosen, shown_ks, signed

KS = (1, 16, 64)  # of a factor: accuracy, and diversity up to as many samples as every factor has
SHOWN = {
    "own-rates": "each at its own rate",
    "rate-1e-5": "both at 1e-5",
    "rate-3e-5": "both at 3e-5",
    "rate-1e-4": "both at 1e-4",
    "seed-1": "both at 3e-5, first seed",
    "seed-2": "both at 3e-5, second seed",
    "seed-3": "both at 3e-5, third seed",
    "on-policy": "one update per rollout batch",
    "unclipped": "four updates, no clip",
    "kept-normaliser": "averaged over kept rows only",
    "sequence-averaging": "averaged per sequence",
    "2-generations": "G = 2",
    "4-generations": "G = 4",
    "16-generations": "G = 16",
    "16-completions": "16 completions an update",
    "sgd": "plain gradient descent at 1, four updates",
    "sgd-on-policy": "the same, one update per rollout batch",
    "sgd-0.1-on-policy": "the same at 0.1, one update per rollout batch",
    "sgd-0.03-on-policy": "the same at 0.03, one update per rollout batch",
}


def _arm(counts: Path, label: str, stage: Stage) -> Arm | None:
    return read_arm(counts, label, [stage.name])


def factor_arms(counts: Path, size: Size) -> dict[str, dict[str, Arm]]:
    """Row -> mode -> arm, where both methods are kept with every seed; empty before the learning rates are chosen."""
    rates = rates_chosen(counts, size)
    if not rates:
        return {}
    found = {}
    for name in SHOWN:
        for mode in ablations.CONTRASTED:
            names = [stage.name for stage in ablations.of_factor(name, mode, rates, size)]
            arm = read_arm(counts, display_name(mode), names)
            if arm and arm.seeds == len(names):
                found.setdefault(name, {})[mode] = arm
    return {name: own for name, own in found.items() if len(own) == len(ablations.CONTRASTED)}


def _base(counts: Path, size: Size) -> Arm | None:
    return _arm(counts, "Base", plan.base(size))


def factor_table(counts: Path, size: Size) -> str | None:
    """Paired differences at every factor: each method to the base, and NSR to PSR. None before two factors are kept."""
    found, base = factor_arms(counts, size), _base(counts, size)
    if len(found) < 2 or base is None:
        return None
    header = ["points", "seeds", *(f"{pair} @{k}" for pair in ("PSR − base", "NSR − base", "NSR − PSR") for k in KS)]
    rows = []
    for name, own in found.items():
        pairs = [(own["psr"], base), (own["nsr"], base), (own["nsr"], own["psr"])]
        rows.append([SHOWN[name], str(own["psr"].seeds), *(cell for a, b in pairs for cell in _cells(a, b))])
    return markdown(header, rows)


def _cells(a: Arm, b: Arm) -> list[str]:
    return [signed(value, bounds) for value, bounds in zip(*difference(a, b, KS), strict=True)]


def factor_training(counts: Path, size: Size) -> str | None:
    """Entropy over the first and the last stretch of training, and the length at the end, of both methods."""
    found = factor_arms(counts, size)
    if len(found) < 2:
        return None
    rows = [[SHOWN[name], *(_change(own[mode]) for mode in ablations.CONTRASTED)] for name, own in found.items()]
    return markdown(["entropy; tokens", *(display_name(mode) for mode in ablations.CONTRASTED)], rows)


def _change(arm: Arm) -> str:
    runs = [one["training"] for one in arm.kept]
    first, last = (np.mean([run["entropy"][end] for run in runs]) for end in (0, -1))
    length = np.mean([[value for value in run["length"] if not np.isnan(value)][-1] for run in runs])
    return f"{first:.3f} → {last:.3f}; {length:.0f}"


def lost_kinds(counts: Path, size: Size) -> str | None:
    """By kind of question, where much is lost: both methods at 1e-4, and PSR over ten times the updates."""
    base, same = _base(counts, size), factor_arms(counts, size).get("rate-1e-4")
    long = _arm(counts, "PSR, ten times the updates", ablations.long_stages(size)["psr", 1])
    if base is None or same is None or long is None:
        return None
    return kinds(
        {
            "base": base,
            "psr": replace(same["psr"], label="PSR at 1e-4"),
            "nsr": replace(same["nsr"], label="NSR at 1e-4"),
            "long": long,
        }
    )


def long_table(counts: Path, size: Size) -> str | None:
    """Ten times the updates: paired differences to the base, entropy, and the first update of each early warning."""
    base = _base(counts, size)
    if base is None:
        return None
    rows = []
    for (mode, seed), stage in ablations.long_stages(size).items():
        arm = _arm(counts, display_name(mode) + (f", seed {seed}" if seed > 1 else ""), stage)
        if arm:
            ks = shown_ks(arm.n)
            cells = [signed(value, bounds) for value, bounds in zip(*difference(arm, base, ks), strict=True)]
            warnings = arm.kept[0].get("warnings", {})
            said = ", ".join(f"{sign} at {update}" for sign, update in warnings.items()) or "none"
            updates = f"{arm.kept[0]['training']['update'][-1]:,}"
            rows.append([f"{arm.label} − base", updates, *cells, _change(arm), said])
    ks = (f"Pass@{k}" for k in shown_ks(ablations.SAMPLES))
    header = ["points", "updates", *ks, "entropy; tokens", "early warnings"]
    return markdown(header, rows) if rows else None


def lambda_table(counts: Path) -> str | None:
    """W-REINFORCE at every lambda that is kept in `counts`, and paired differences to the smallest."""
    found = sweep.arms(counts, sweep.stages(sweep.parse_args([])))
    return sweep.table(found) if len([name for name in found if name != "base"]) > 1 else None
