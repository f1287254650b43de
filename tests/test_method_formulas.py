"""Every method against formulas written anew, row by row in numpy, on random batches in float64."""

import math
from argparse import Namespace

import numpy as np
import pytest
import torch

from tests.scored import scored
from trainers import METHODS

pytestmark = pytest.mark.methods
T = 40  # optimiser steps of the run


def grpo(rows, i, o, t):
    return rows.advantage[i]


def psr(rows, i, o, t):
    return float(rows.r[i] == 1)


def nsr(rows, i, o, t):
    return -float(rows.r[i] == 0)


def w_reinforce(rows, i, o, t):
    l0, l1 = o["lambda_psr"], o["lambda_psr_end"]
    if rows.r[i] == 1:
        return l0 if l1 is None else l0 + (l1 - l0) * t / T
    b0, b1 = o["negative_weight_start"], o["negative_weight_end"]
    return -{
        "constant": 1.0,
        "exponential": b1 + (b0 - b1) * math.exp(-o["negative_weight_decay"] * t),
        "cosine": b1 + (b0 - b1) * (1 + math.cos(math.pi * t / T)) / 2,
        "accuracy": b1 + (b0 - b1) * (1 - np.nanmean(rows.r)),
    }[o["negative_weight"]]


def maxrl(rows, i, o, t):
    p = rows.group(i).mean()
    return (rows.r[i] - p) / p if p else 0.0


def passk(rows, i, o, t):
    """The mean reward of the draws of K that hold the row, less that of all draws, over their deviation."""
    group, k = rows.group(i), o["passk_k"]
    size, wrong = len(group), int((group == 0).sum())
    if size < k or wrong < k or wrong == size:
        return 0.0
    draws, without = math.comb(size, k), math.comb(wrong, k)
    mean = 1 - without / draws
    own = 1.0 if rows.r[i] == 1 else 1 - math.comb(wrong - 1, k - 1) / math.comb(size - 1, k - 1)
    return (own - mean) / math.sqrt(mean * (1 - mean))


def ngrpo(rows, i, o, t):
    group = np.append(rows.group(i), 1.0)
    return (rows.r[i] - group.mean()) / (group.std(ddof=1) + 1e-6)


def cw_nsr(rows, i, o, t):
    if rows.r[i] == 1:
        return 0.0
    likelihood = np.exp(rows.logp)
    return -np.clip(likelihood[i] / likelihood[~np.isnan(rows.r)].mean(), o["weight_least"], o["weight_most"])


def ds_grpo(rows, i, o, t):
    factor = -o["smooth_correct"] if rows.r[i] == 1 else o["smooth_wrong"]
    return rows.advantage[i] + factor * rows.logp[i]


def f_grpo(rows, i, o, t):
    return (1 - rows.group(i).mean()) ** o["focal_gamma"] * rows.advantage[i]


def asymre(rows, i, o, t):
    return rows.r[i] - rows.group(i).mean() - o["baseline_shift"]


FORMULAS = {function.__name__.replace("_", "-"): function for function in (
    grpo, psr, nsr, w_reinforce, maxrl, passk, ngrpo, cw_nsr, ds_grpo, f_grpo, asymre,
)}  # fmt: skip
SETTINGS = [
    *((mode, {}) for mode in FORMULAS),
    *(("w-reinforce", {"negative_weight": kind, "lambda_psr": 0.05, "lambda_psr_end": 0.2})
      for kind in ("constant", "exponential", "cosine", "accuracy")),
    ("w-reinforce", {"negative_weight": "exponential", "negative_weight_start": 0.2, "negative_weight_end": 3.0,
                     "negative_weight_decay": 0.5}),
    *(("passk", {"passk_k": k}) for k in (1, 3, 4, 7)),
    ("cw-nsr", {"weight_least": 0.9, "weight_most": 1.1}),
    ("ds-grpo", {"smooth_correct": 0.5, "smooth_wrong": 0.0}),
    *(("f-grpo", {"focal_gamma": gamma}) for gamma in (0.0, 0.5, 2.0)),
    *(("asymre", {"baseline_shift": shift}) for shift in (0.0, 0.3)),
]  # fmt: skip


class Rows(Namespace):
    def group(self, i):
        """r of the scorable rows of the prompt of row i."""
        r = self.r[self.prompt == self.prompt[i]]
        return r[~np.isnan(r)]


def random_rows(draw: np.random.Generator) -> Rows:
    """Prompts of 2 to 8 completions in any order: all right, all wrong, mixed, some unscorable, some wholly so."""
    r, prompt = [], []
    for number in range(draw.integers(1, 7)):
        size = int(draw.integers(2, 9))
        group = (draw.random(size) < draw.choice([0.0, 0.2, 0.5, 1.0])).astype(float)
        group[draw.random(size) < draw.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1])] = np.nan
        r += [*group]
        prompt += [number] * size
    order = draw.permutation(len(r))
    unknown = np.isnan(np.array(r)[order])
    return Rows(
        r=np.array(r)[order],
        prompt=np.array(prompt)[order],
        logp=-draw.gamma(1.0, size=len(r)),
        advantage=np.where(unknown, 0.0, draw.normal(size=len(r))),
    )


@pytest.mark.parametrize(
    ("mode", "options"), SETTINGS, ids=lambda value: value if isinstance(value, str) else str(value)
)
def test_the_weights_of_random_batches_are_those_of_the_formula(mode, options):
    draw, method = np.random.default_rng(7), METHODS[mode](**options)
    every = {name: getattr(method, name) for name in method.options()}
    some = False
    for _ in range(60):
        rows, step = random_rows(draw), int(draw.integers(T))
        expected = [0.0 if np.isnan(r) else FORMULAS[mode](rows, i, every, step) for i, r in enumerate(rows.r)]
        batch = scored(
            torch.tensor(rows.r),
            prompt=torch.tensor(rows.prompt),
            mean_logp=torch.tensor(rows.logp),
            advantages=torch.tensor(rows.advantage),
            step=step,
            steps=T,
        )
        weights = method.weights(batch)
        assert weights.dtype == torch.float64
        assert weights.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        some |= any(expected)
    assert some


def test_every_method_has_a_formula_here():
    assert set(FORMULAS) == {mode for mode, method in METHODS.items() if method.paper}


PAIRS = [("passk", {"passk_k": 2}), ("passk", {"passk_k": 3}), ("maxrl", {}), ("asymre", {"baseline_shift": 0.0})]


@pytest.mark.parametrize(("mode", "options"), PAIRS)
def test_the_weights_of_every_group_add_up_to_zero(mode, options):
    draw = np.random.default_rng(3)
    for _ in range(50):
        rows = random_rows(draw)
        batch = scored(torch.tensor(rows.r), prompt=torch.tensor(rows.prompt))
        assert batch.group_sum(METHODS[mode](**options).weights(batch)).abs().max() < 1e-12
