"""Which ways to answer gain and lose under each method: tables from the completions counted by way.

The shares are those of completions, the mean over problems and seeds. Intervals are those of study/summary.py: over
charts, for these seeds' mean.
"""

from collections.abc import Sequence

import numpy as np

from organism.answering import FLAWED, OTHER, PROCEDURES, SOUND
from study.summary import Arm, gap
from study.tables import markdown, points, signed

WAYS = (*PROCEDURES, OTHER)
EQUALS = ("quick", "reverse")  # of equal merit


def per_problem(arm: Arm, ways: Sequence[str]) -> np.ndarray:  # (S, P)
    """Share of a problem's completions that took one of these ways."""
    taken = arm.ways("taken")
    return sum((taken[way] for way in ways if way in taken), np.zeros(arm.c.shape)) / arm.n


def shares(arm: Arm) -> np.ndarray:  # (S, W)
    """Share of all completions that took each of WAYS, a row a seed."""
    return np.stack([per_problem(arm, [way]).mean(axis=1) for way in WAYS], axis=1)


def entropy(arm: Arm) -> np.ndarray:  # (S,)
    """Of the shares of the ways, in nats: ln 9 = 2.2 if all nine were taken equally often, 0 if one alone is."""
    p = shares(arm)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)


def share_table(found: dict[str, Arm]) -> str | None:
    """Every method's shares of the ways, their entropy, and how often the careful way was right."""
    if not found:
        return None
    rows = []
    for arm in found.values():
        each = (points(float(value)) for value in shares(arm).mean(axis=0))
        rows.append([arm.label, *each, f"{entropy(arm).mean():.2f}", careful_right(arm)])
    return markdown(["% of completions", *WAYS, "entropy", "careful right"], rows)


def careful_right(arm: Arm) -> str:
    """How many of the careful completions were right, in percent; a dash where there are fewer than ten."""
    taken, right = (part.get("careful", np.zeros(1)).sum() for part in (arm.ways("taken"), arm.ways("right")))
    return points(right / taken) if taken >= 10 else "–"


def change_table(plain: dict[str, Arm], marked: dict[str, Arm]) -> str | None:
    """Paired differences of shares to the base: the sound ways and all flawed ones, on plain and on marked charts."""
    columns = {**{way: (way,) for way in SOUND}, "flawed": (*FLAWED, OTHER)}
    rows = []
    for name in [name for name in plain if name != "base" and name in marked]:
        cells = []
        for found in (plain, marked):
            both = [
                np.stack([per_problem(found[arm], ways) for ways in columns.values()], -1) for arm in (name, "base")
            ]
            moved = gap(found[name], found["base"], *both)
            cells += [signed(value, bounds) for value, bounds in zip(*moved, strict=True)]
        rows.append([f"{plain[name].label} − base", *cells])
    header = ["points", *(f"{way}, {part}" for part in ("plain", "marked") for way in columns)]
    return markdown(header, rows) if rows else None


def quick_of_both(arm: Arm) -> np.ndarray:  # (S,)
    """Of the completions that took one of the two ways of equal merit, the share that took the first."""
    first, second = (per_problem(arm, [way]).sum(axis=1) for way in EQUALS)
    return first / np.maximum(first + second, 1e-9)


def equal_merit(found: dict[str, Arm]) -> str | None:
    """Quick among quick and reverse, each seed by itself, and their difference against the base's with its interval."""
    if "base" not in found:
        return None
    rows = []
    for name, arm in found.items():
        moved = "–"
        if name != "base":
            # (1 + quick − reverse) / 2 lies between 0 and 1, and twice its change is the change of quick − reverse
            pairs = ([per_problem(one, [way]) for way in EQUALS] for one in (arm, found["base"]))
            halves = [(1 + quick - reverse)[..., None] / 2 for quick, reverse in pairs]
            value, bounds = gap(arm, found["base"], *halves)
            moved = signed(2 * value[0], 2 * bounds[0])
        each = quick_of_both(arm)
        both = per_problem(arm, EQUALS).mean()
        rows.append([arm.label, points(both), " / ".join(map(points, each)), moved])
    return markdown(
        ["", "quick and reverse, %", "quick of both, % (each seed)", "quick − reverse, change to the base"], rows
    )
