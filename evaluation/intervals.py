"""Intervals by bootstrap over problems, where the problems of one chart are drawn together.

Several questions share one chart, and a chart that is hard to read is hard for all of them: drawing single problems
would call their answers independent and give intervals that are too narrow.

Where every chart has the same value (no problem solved, or all, or no difference between two methods) every resample
has it too, and the bootstrap says nothing. There the bound is exact: were a share p of all charts different, `m` charts
would show none with probability (1 - p)^m, which is below 5 % for p > 1 - 0.05^(1/m), about 3/m (Clopper and Pearson
1934; Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all right?"). The mean is then away from what
was seen by no more than p times the distance to the end of its range (charts of about as many questions each).
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
TAILS = (1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0
SEED = 2025
BLOCK_CELLS = 1 << 19  # resamples x clusters held at once: 4 MB of float64


def cluster_codes(clusters: Sequence[str]) -> np.ndarray:  # (P,)
    """0, 1, 2, ... in order of first appearance."""
    seen: dict[str, int] = {}
    return np.fromiter((seen.setdefault(name, len(seen)) for name in clusters), dtype=np.int64, count=len(clusters))


def resampled_means(
    values: np.ndarray,
    clusters: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = SEED,
    strata: Sequence[str] | None = None,
) -> np.ndarray:  # (B, M)
    """Means over problems in bootstrap samples of clusters, all columns of `values` (P, M) from the same draws.

    With `strata`, one a problem, as many clusters of each stratum are drawn as there are: the means are given these
    numbers. ValueError for a cluster that lies in two.
    """
    codes = cluster_codes(clusters)
    count = int(codes.max()) + 1
    groups = [np.arange(count)] if strata is None else _clusters_of_strata(codes, strata)
    sums = np.zeros((count, values.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([values, np.ones(len(values))]))
    rng = np.random.default_rng(seed)
    block, means = max(1, BLOCK_CELLS // count), []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        each = [group[rng.integers(len(group), size=(rows, len(group)))] for group in groups]
        drawn = np.concatenate(each, axis=1) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
        totals = weights @ sums  # (B, M + 1)
        means.append(totals[:, :-1] / totals[:, -1:])
    return np.concatenate(means)


def _clusters_of_strata(codes: np.ndarray, strata: Sequence[str]) -> list[np.ndarray]:
    pairs = np.unique(np.column_stack([codes, cluster_codes(strata)]), axis=0)  # (cluster, stratum)
    if len(pairs) > codes.max() + 1:
        raise ValueError("a chart lies in two strata")
    return [pairs[pairs[:, 1] == stratum, 0] for stratum in range(int(pairs[:, 1].max()) + 1)]


def bootstrap_intervals(
    values: np.ndarray,
    clusters: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    within: tuple[float, float] | None = None,
    strata: Sequence[str] | None = None,
) -> np.ndarray:  # (M, 2)
    """Percentile interval of the mean over problems, for each column of `values` (P, M).

    `within` is the range that a value can have: a column in which all charts agree, or all of each of the `strata`,
    gets the exact bound of above, which is one-sided at an end of the range. Without it such a column's interval has no
    width.

    For a paired difference pass the difference of two tables of the same problems: what makes a problem hard for both
    methods cancels before the spread is taken.
    """
    values = np.asarray(values, dtype=float)
    bounds = np.quantile(resampled_means(values, clusters, resamples, seed, strata), TAILS, axis=0).T
    if within:
        alike, exact = agreement(values, clusters, within, strata)
        bounds[alike] = exact[alike]
    return bounds


def agreement(
    values: np.ndarray, clusters: Sequence[str], within: tuple[float, float], strata: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:  # (M,), (M, 2)
    """For each column of `values` (P, M), whether all charts of each stratum agree, and the exact bound if they do.

    Of several strata the bound is theirs together, each by its share of the problems.
    """
    names, of_problem = np.unique(["" for _ in clusters] if strata is None else list(strata), return_inverse=True)
    alike, exact = np.ones(values.shape[1], dtype=bool), np.zeros((values.shape[1], 2))
    for stratum in range(len(names)):
        inside = of_problem == stratum
        own, charts = values[inside], [name for name, chosen in zip(clusters, inside, strict=True) if chosen]
        alike &= charts_agree(own, charts)
        exact += inside.mean() * exact_bounds(own.mean(axis=0), charts, within)
    return alike, exact


def exact_bounds(seen: np.ndarray, clusters: Sequence[str], within: tuple[float, float]) -> np.ndarray:  # (M, 2)
    """The bound of above around means (M,) on which all charts agree."""
    unseen = 1.0 - (1.0 - LEVEL) ** (1.0 / len(set(clusters)))
    return seen[:, None] + unseen * (np.asarray(within) - seen[:, None])


def charts_agree(values: np.ndarray, clusters: Sequence[str]) -> np.ndarray:  # (M,)
    """For each column of `values` (P, M), whether its mean is the same for every chart."""
    codes = cluster_codes(clusters)
    sums = np.zeros((int(codes.max()) + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    return np.ptp(sums / np.bincount(codes)[:, None], axis=0) < 1e-12
