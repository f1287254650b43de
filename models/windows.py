"""How the patches of a vision tower's pass are parted into sequences that see themselves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Windows:
    """How the patches of a pass are parted into sequences that see themselves alone."""

    boundaries: torch.Tensor  # (n + 1,) int32, on the device
    longest: int
    batches: tuple[tuple[int, int], ...]  # (windows, their length), of every length that occurs
    order: torch.Tensor | None  # (T,) patches by the length of their window; None when all are equally long
    back: torch.Tensor | None  # (T,) where each patch then lies

    @classmethod
    def of(cls, boundaries: Sequence[int], device: torch.device) -> Windows:
        ends = torch.tensor(boundaries)
        lengths = ends.diff()
        found, counts = lengths.unique(return_counts=True)
        order = back = None
        if len(found) > 1:
            order = lengths.repeat_interleave(lengths).argsort(stable=True)
            back = order.argsort().to(device)
            order = order.to(device)
        batches = tuple(zip(counts.tolist(), found.tolist(), strict=True))
        return cls(ends.to(device, torch.int32), batches[-1][1], batches, order, back)
