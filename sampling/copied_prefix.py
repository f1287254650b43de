"""The general way: every row owns a copy of its prompt's cache. For models whose attention cannot be redirected."""

from __future__ import annotations

import torch
from transformers import DynamicCache


class CopiedPrefixCache:
    """`SharedPrefixCache`'s interface on transformers' own cache; all prompts of a batch must be equally long."""

    def __init__(self, prefixes: list[list[tuple[torch.Tensor, torch.Tensor]]], group: torch.Tensor):
        if len({layers[0][0].shape[-2] for layers in prefixes}) > 1:
            raise ValueError("prompts of different lengths cannot share a batch of copied caches")
        self.for_model = DynamicCache()
        for index in range(len(prefixes[0])):
            keys, values = (torch.cat([layers[index][which] for layers in prefixes])[group] for which in (0, 1))
            self.for_model.update(keys, values, index)

    def begin_step(self) -> None: ...

    def move(self, gaps: torch.Tensor, tail: torch.Tensor, rows: int) -> None:
        order = torch.arange(rows, device=gaps.device)
        order[gaps] = tail
        self.for_model.batch_select_indices(order)
