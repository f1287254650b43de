"""Kept counts -> Pass@k of a method over its seeds, paired differences, and their intervals.

An arm is one method's runs, a seed each, all measured on the same problems. Its curve is the mean over seeds and
problems. Two kinds of interval, both 95 %, percentile bootstrap with the questions of one chart drawn together:

- of a paired difference: over charts, for these seeds' mean; what makes a problem hard for both arms cancels;
- the band of a curve: over charts and over seeds, drawn with replacement too.

Of charts that are plain or marked, as many of each are drawn as there are, if there are FEWEST of both.

Where all charts agree neither has a spread, and both take the exact bound of evaluation/intervals.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from evaluation.estimators import pass_at_k
from evaluation.intervals import SEED, TAILS, agreement, bootstrap_intervals, resampled_means

FEWEST = 10  # charts of a kind that are drawn by themselves


@dataclass
class Arm:
    """The kept counts of one method's runs, a seed each."""

    label: str
    kept: list[dict]
    problems: dict  # ids, clusters, kinds, yes_no, one entry a problem
    by_mark: bool = False  # intervals take the number of marked charts as given

    @cached_property
    def c(self) -> np.ndarray:  # (S, P)
        return np.array([one["c"] for one in self.kept])

    @property
    def n(self) -> int:
        """Samples a problem."""
        return self.kept[0]["n"]

    @property
    def seeds(self) -> int:
        return len(self.kept)

    @property
    def strata(self) -> list[str] | None:  # (P,)
        """Whether a problem's chart is plain or marked; None where that is not given or few charts are either.

        Of few charts a draw hardly differs from them, and would call the mean more certain than it is.
        """
        ends = [kind.rpartition(" ")[2] for kind in self.problems["kinds"]]
        pairs = set(zip(ends, self.problems["clusters"], strict=True))
        charts = Counter(end for end, _ in pairs)
        parted = set(charts) == {"plain", "marked"} and len(pairs) == len(set(self.problems["clusters"]))
        return ends if self.by_mark and parted and min(charts.values()) >= FEWEST else None

    def per_seed(self, ks: Sequence[int]) -> np.ndarray:  # (S, P, K)
        return np.stack([pass_at_k(np.full(len(row), self.n), row, ks) for row in self.c])

    def curve(self, ks: Sequence[int]) -> np.ndarray:  # (K,)
        return self.per_seed(ks).mean(axis=(0, 1))

    def ways(self, part: str) -> dict[str, np.ndarray]:  # way -> (S, P)
        """Completions that took a way (`part` "taken"), or took it and were right ("right"); {} where none has ways."""
        names = {way for one in self.kept for way in one.get(part, {})}
        none = [0] * len(self.problems["ids"])
        return {way: np.array([one[part].get(way, none) for one in self.kept]) for way in names}

    def only(self, chosen: Callable[[str], bool]) -> Arm:
        """The same of the problems whose kind is chosen, such as `lambda kind: kind.endswith("plain")`."""
        places = [place for place, kind in enumerate(self.problems["kinds"]) if chosen(kind)]

        def part(values: list) -> list:
            return [values[place] for place in places]

        def of_ways(one: dict) -> dict:
            return {name: {w: part(v) for w, v in one[name].items()} for name in ("taken", "right") if name in one}

        kept = [{**one, "c": part(one["c"]), **of_ways(one)} for one in self.kept]
        return replace(self, kept=kept, problems={name: part(values) for name, values in self.problems.items()})


def read_arm(counts: Path, label: str, names: Sequence[str], *, by_mark: bool = False) -> Arm | None:
    """The arm of these stages, as many as are kept; None when none is. ValueError when they are of other problems."""
    paths = [counts / f"{name}.json" for name in names]
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    if not kept:
        return None
    if len({(one["problem_set"], one["n"]) for one in kept}) > 1:
        raise ValueError(
            f"{counts}: the runs of {label} were measured on other problems or with other numbers of samples"
        )
    problems = json.loads((counts / f"problems_{kept[0]['problem_set']}.json").read_text(encoding="utf-8"))
    return Arm(label, kept, problems, by_mark)


def band(arm: Arm, ks: Sequence[int]) -> np.ndarray:  # (K, 2)
    """Interval of the arm's curve over charts and seeds; where all charts agree, at least the exact bound."""
    tables = arm.per_seed(ks)
    options = {"clusters": arm.problems["clusters"], "strata": arm.strata}
    means = np.stack([resampled_means(table, **options) for table in tables])  # (S, B, K): same draws
    rng = np.random.default_rng(SEED + 1)
    seeds = rng.integers(arm.seeds, size=(arm.seeds, means.shape[1]))  # (S, B)
    drawn = means[seeds, np.arange(means.shape[1])].mean(axis=0)  # (B, K)
    bounds, mean = np.quantile(drawn, TAILS, axis=0).T, tables.mean(axis=0)  # (K, 2), (P, K)
    alike, exact = agreement(mean, within=(0.0, 1.0), **options)
    widest = np.stack([np.minimum(bounds, exact)[:, 0], np.maximum(bounds, exact)[:, 1]], axis=1)
    return np.where(alike[:, None], widest, bounds)


def difference(a: Arm, b: Arm, ks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:  # (K,), (K, 2)
    """Pass@k of `a` minus that of `b`, seeds averaged, and its interval over charts. ValueError for other problems."""
    return gap(a, b, a.per_seed(ks), b.per_seed(ks))


def gap(a: Arm, b: Arm, of_a: np.ndarray, of_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (M,), (M, 2)
    """The same of any numbers (S, P, M) of the two arms, M numbers between 0 and 1 a problem."""
    if a.kept[0]["problem_set"] != b.kept[0]["problem_set"]:
        raise ValueError(f"{a.label} and {b.label} were measured on other problems")
    table = of_a.mean(axis=0) - of_b.mean(axis=0)
    options = {"clusters": a.problems["clusters"], "strata": a.strata}
    return table.mean(axis=0), bootstrap_intervals(table, within=(-1.0, 1.0), **options)
