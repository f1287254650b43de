"""Correctness -> advantages: the whole difference between the modes, as pure tensor functions.

Source: Zhu et al., "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning" (arXiv 2506.01347). One
constant for every token of a completion, no baseline, no group mean, no standard deviation:

| completion | PSR | NSR | W-REINFORCE |
|---|---|---|---|
| correct    | +1  |  0  | +lambda     |
| incorrect  |  0  | -1  | -1          |
| unscorable |  0  |  0  | 0           |

Every function takes `correct`, a float tensor (B,) of 1 (correct), 0 (incorrect) and NaN (unscorable), and returns a
tensor of the same shape and type.
"""

from __future__ import annotations

import torch


def correctness(accuracy: torch.Tensor, threshold: float) -> torch.Tensor:
    """Accuracy rewards (B,), NaN where there is none, -> 1 where accuracy >= threshold, 0 below, NaN kept."""
    return torch.where(accuracy.isnan(), accuracy, (accuracy >= threshold).to(accuracy.dtype))


def psr_advantages(correct: torch.Tensor) -> torch.Tensor:
    """Positive sample reinforcement, L_PSR = -E[sum over correct y of pi(y|x)]: +1 for correct, 0 for the rest."""
    return (correct == 1).to(correct.dtype)


def nsr_advantages(correct: torch.Tensor) -> torch.Tensor:
    """Negative sample reinforcement, L_NSR = +E[sum over wrong y of pi(y|x)]: -1 for wrong, 0 for the rest."""
    return 0 - (correct == 0).to(correct.dtype)  # 0 - x: no negative zeros in the log


def w_reinforce_advantages(correct: torch.Tensor, lambda_psr: float) -> torch.Tensor:
    """W-REINFORCE, L = lambda * L_PSR + L_NSR: lambda for correct, -1 for wrong. lambda = 1 is REINFORCE, 0 is NSR."""
    return lambda_psr * psr_advantages(correct) + nsr_advantages(correct)


def kept_scale(advantages: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Factor that turns an average over all rows into one over the kept rows, those whose advantage is not zero.

    `weights` (B,): what each row counts in the average: its completion tokens (token averaging) or 1 (sequence
    averaging). Returns a scalar, 1 when nothing is kept. Averaging over kept rows is what the paper's code does: under
    it the size of the gradient depends on the class balance, by (1 - J^n) / (1 - J) for NSR with n samples a prompt.
    """
    kept = weights[advantages != 0].sum()
    return torch.where(kept > 0, weights.sum() / kept.clamp(min=1), torch.ones_like(kept))
