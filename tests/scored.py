"""Scored batches by hand, for tests of methods."""

from __future__ import annotations

import torch

from trainers import METHODS
from trainers.method import Method, ScoredBatch

NAN = float("nan")
NEEDED = {"own-advantage": {"advantage": "examples.advantage:unlikely"}}  # options that a mode cannot do without


def method_of(mode: str) -> Method:
    """The method with its defaults."""
    return METHODS[mode](**NEEDED.get(mode, {}))


def flags_of(mode: str) -> list[str]:
    """The flags of main.py that choose the method with its defaults."""
    options = NEEDED.get(mode, {}).items()
    return ["--mode", mode, *(word for name, value in options for word in (f"--{name}", value))]


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
