"""From (samples, right samples) of each problem to Pass@k and its relatives: pure functions of counts.

Pass@k = 1 - C(n-c, k) / C(n, k), the probability that k of a problem's n samples, drawn without replacement, hold a
right one (Chen et al. 2021); unbiased for every k <= n. At k = n it only asks whether any sample at all was right.
"""

from collections.abc import Callable, Sequence

import numpy as np


def pass_at_k_table(n: int, ks: Sequence[int]) -> np.ndarray:  # (n + 1, K)
    """Row c, column i: Pass@ks[i] of a problem with c right samples of n.

    The share f(c) = C(n-c, k) / C(n, k) obeys f(0) = 1 and f(c+1) = f(c) * max(0, (n-c-k) / (n-c)): one cumulative
    product serves every c and k, with no large binomials.
    """
    left = n - np.arange(n)[:, None]  # (n, 1)
    steps = np.maximum(0.0, (left - np.asarray(ks)) / left)  # (n, K)
    return 1.0 - np.vstack([np.ones((1, len(ks))), np.cumprod(steps, axis=0)])


def by_counts(n: np.ndarray, c: np.ndarray, ks: Sequence[int], table: Callable) -> np.ndarray:  # (P, K)
    """One row per problem, looked up in `table(n, ks)`, which is built once for each n that occurs."""
    n, c, ks = np.asarray(n), np.asarray(c), [int(k) for k in ks]
    if n.shape != c.shape or n.ndim != 1:
        raise ValueError(f"n and c must be lists of one length, got shapes {n.shape} and {c.shape}")
    if n.size == 0 or n.min() < 1 or c.min() < 0 or (c > n).any():
        raise ValueError("every problem needs n >= 1 samples and 0 <= c <= n right ones")
    if not ks or min(ks) < 1 or max(ks) > n.min():
        raise ValueError(f"k must lie between 1 and the {n.min()} samples of the smallest problem, got {ks}")
    rows = np.empty((n.size, len(ks)))
    for size in np.unique(n):
        chosen = n == size
        rows[chosen] = table(int(size), ks)[c[chosen]]
    return rows


def pass_at_k(n: np.ndarray, c: np.ndarray, ks: Sequence[int]) -> np.ndarray:  # (P, K)
    """Pass@k of every problem for every k: the probability that one of k samples is right."""
    return by_counts(n, c, ks, pass_at_k_table)


def pass_hat_k(n: np.ndarray, c: np.ndarray, ks: Sequence[int]) -> np.ndarray:  # (P, K)
    """Pass^k of every problem for every k: C(c, k) / C(n, k), the probability that all k samples are right."""
    return by_counts(n, c, ks, lambda size, ks: 1.0 - pass_at_k_table(size, ks)[::-1])


def at_least_table(n: int, k: int) -> np.ndarray:  # (n + 1, k + 1)
    """Row c, column t: the probability that at least t of k samples are right, drawn without replacement from n, c."""
    from scipy.stats import hypergeom  # takes a second to import, and few metrics need it

    return hypergeom.sf(np.arange(k + 1) - 1, n, np.arange(n + 1)[:, None], k)


def g_pass_at_k(n: np.ndarray, c: np.ndarray, ks: Sequence[int], share: float) -> np.ndarray:  # (P, K)
    """G-Pass@k at `share`: the probability that at least ceil(share * k) of k samples are right (Liu et al. 2025)."""

    def table(size: int, ks: list[int]) -> np.ndarray:
        needed = [max(1, int(np.ceil(share * k - 1e-9))) for k in ks]
        return np.stack([at_least_table(size, k)[:, t] for k, t in zip(ks, needed, strict=True)], axis=1)

    return by_counts(n, c, ks, table)


def mean_g_pass_at_k(n: np.ndarray, c: np.ndarray, ks: Sequence[int]) -> np.ndarray:  # (P, K)
    """mG-Pass@k: the mean over t = floor(k/2)+1 ... k of the probability that at least t of k samples are right."""

    def table(size: int, ks: list[int]) -> np.ndarray:
        return np.stack([at_least_table(size, k)[:, k // 2 + 1 :].mean(axis=1) for k in ks], axis=1)

    return by_counts(n, c, ks, table)


def guessing_floor(yes_no: Sequence[bool], ks: Sequence[int]) -> np.ndarray:  # (K,)
    """Pass@k of guessing where the answer is yes or no: the share of such problems times 1 - 0.5^k."""
    return np.mean(yes_no) * (1.0 - 0.5 ** np.asarray(ks, dtype=float))


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... up to n: the k at which curves are drawn."""
    return [1 << power for power in range(n.bit_length())]
