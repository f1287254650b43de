"""The general way: every row owns a copy of its prompt's cache. For models whose attention cannot be redirected."""

import torch
from transformers import DynamicCache


class CopiedPrefixCache:
    """`SharedPrefixCache`'s interface on transformers' own cache, for the rows of one prompt."""

    def __init__(self, prefixes: list[list[tuple[torch.Tensor, torch.Tensor]]], group: torch.Tensor, limit: int):
        assert len(prefixes) == 1, "one prompt at a time"
        self.for_model = DynamicCache()
        for index, (keys, values) in enumerate(prefixes[0]):
            self.for_model.update(keys[group], values[group], index)

    def begin_step(self) -> None: ...

    def select(self, rows: torch.Tensor) -> None:
        self.for_model.batch_select_indices(rows)

    def move(self, gaps: torch.Tensor, tail: torch.Tensor, rows: int) -> None:
        order = torch.arange(rows, device=gaps.device)
        order[gaps] = tail
        self.for_model.batch_select_indices(order)
