"""Scored batches by hand, for tests of methods."""

from __future__ import annotations

import torch

from trainers.method import ScoredBatch

NAN = float("nan")


def scored(correct: list[float] | torch.Tensor, generations: int | None = None, **known) -> ScoredBatch:
    """A batch of these verdicts (1, 0, NaN), `generations` completions a prompt (None: all of one prompt)."""
    correct = torch.as_tensor(correct, dtype=getattr(correct, "dtype", torch.float32))
    unknown = torch.full_like(correct, torch.nan)
    facts = {
        "correct": correct,
        "accuracy": correct,
        "reward": correct,
        "advantages": unknown,
        "prompt": torch.arange(len(correct)) // (generations or max(1, len(correct))),
        "mean_logp": None,
        "step": 0,
        "steps": 10,
    }
    return ScoredBatch(**{**facts, **known})
