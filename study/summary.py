"""Kept counts -> Pass@k of a method over its seeds, paired differences, and their intervals.

An arm is one method's runs, a seed each, all measured on the same problems. Its curve is the mean over seeds and
problems. Two kinds of interval, both 95 %, percentile bootstrap with the questions of one chart drawn together:

- of a paired difference: over charts, for these seeds' mean; what makes a problem hard for both arms cancels;
- the band of a curve: over charts and over seeds, drawn with replacement too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from evaluation.estimators import pass_at_k
from evaluation.intervals import LEVEL, RESAMPLES, SEED, bootstrap_intervals, resampled_means


@dataclass
class Arm:
    """The kept counts of one method's runs, a seed each."""

    label: str
    kept: list[dict]
    problems: dict  # ids, clusters, kinds, yes_no, one entry a problem

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

    def per_seed(self, ks: Sequence[int], rows: Sequence[int] | None = None) -> np.ndarray:  # (S, P, K)
        c = self.c if rows is None else self.c[:, rows]
        return np.stack([pass_at_k(np.full(len(row), self.n), row, ks) for row in c])

    def curve(self, ks: Sequence[int], rows: Sequence[int] | None = None) -> np.ndarray:  # (K,)
        return self.per_seed(ks, rows).mean(axis=(0, 1))


def read_arm(counts: Path, label: str, names: Sequence[str]) -> Arm | None:
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
    return Arm(label, kept, problems)


def band(arm: Arm, ks: Sequence[int]) -> np.ndarray:  # (K, 2)
    """Interval of the arm's curve over charts and seeds."""
    tables = arm.per_seed(ks)
    means = np.stack([_resampled(table, arm.problems["clusters"]) for table in tables])  # (S, B, K): same draws
    rng = np.random.default_rng(SEED + 1)
    seeds = rng.integers(arm.seeds, size=(arm.seeds, means.shape[1]))  # (S, B)
    drawn = means[seeds, np.arange(means.shape[1])].mean(axis=0)  # (B, K)
    tail = (1.0 - LEVEL) / 2.0
    return np.quantile(drawn, [tail, 1.0 - tail], axis=0).T


def _resampled(table: np.ndarray, clusters: Sequence[str]) -> np.ndarray:  # (B, K)
    return np.concatenate(list(resampled_means(table, clusters, RESAMPLES, SEED)))


def difference(a: Arm, b: Arm, ks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:  # (K,), (K, 2)
    """Pass@k of `a` minus that of `b`, seeds averaged, and its interval over charts. ValueError for other problems."""
    if a.kept[0]["problem_set"] != b.kept[0]["problem_set"]:
        raise ValueError(f"{a.label} and {b.label} were measured on other problems")
    table = a.per_seed(ks).mean(axis=0) - b.per_seed(ks).mean(axis=0)
    return table.mean(axis=0), bootstrap_intervals(table, a.problems["clusters"], within=(-1.0, 1.0))
