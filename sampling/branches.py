"""What a decode step computes: a row for every completion, or one for all that agree so far.

Both keep the cache and the positions of the model's rows, and carry what the model finds to the completions
(`to_completions`) and their tokens back to its rows (`follow`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sampling.batch import DROP_SHARE, Batch, Request
from sampling.copied_prefix import CopiedPrefixCache
from sampling.shared_prefix import SharedPrefixCache
from sampling.sizes import MIN_ROWS

Cache = SharedPrefixCache | CopiedPrefixCache


class Rows:
    """A row for every completion. Those that have ended leave now and then: nothing waits for the device."""

    def __init__(self, batch: Batch, requests: Sequence[Request], new_cache: Callable[[torch.Tensor], Cache]):
        device = requests[0].prompt.logits.device
        self.batch, self.group = batch, torch.from_numpy(batch.prompt).to(device)
        self.cache = new_cache(self.group)
        self.positions = torch.tensor([r.prompt.next_position for r in requests], device=device)[self.group] - 1
        self._first = True

    def to_completions(self, found: torch.Tensor) -> torch.Tensor:
        """What was found for prompts, and after the first token for rows, as one line a completion."""
        return found[self.group] if self._first else found

    def follow(self, tokens: torch.Tensor) -> torch.Tensor:
        """The token of each row of the next step; `positions` are theirs then."""
        self._first = False
        move = self.batch.drop()
        if move is not None:
            gaps, tail, rows = move
            self.cache.move(gaps, tail, rows)
            for tensor in (tokens, self.positions):
                tensor[gaps] = tensor[tail]
            tokens, self.positions = tokens[:rows], self.positions[:rows]
        self.positions = self.positions + 1
        return tokens


class Branches:
    """One row for all completions of a prompt that agree so far, and so a tree: at first a prompt is one branch.

    A chart's completions share long beginnings: 256 of them, with the embedded models, are some ten branches on
    average. Each completion still chooses by its own random number. The host looks at every token, which on the CPU
    costs nothing.
    """

    def __init__(self, batch: Batch, requests: Sequence[Request], new_cache: Callable[[torch.Tensor], Cache]):
        self.batch, self.new_cache = batch, new_cache
        self.cache: Any = None  # made for the first step, when it is known which branches there are
        self.branch = torch.from_numpy(batch.prompt)  # of each completion that goes on
        self.positions = torch.tensor([r.prompt.next_position for r in requests]) - 1

    def to_completions(self, found: torch.Tensor) -> torch.Tensor:
        return found[self.branch]

    def follow(self, tokens: torch.Tensor) -> torch.Tensor:
        going = torch.from_numpy(self.batch.leave())
        tokens, branch = tokens[going], self.branch[going]
        most = int(tokens.max()) + 1
        pairs, self.branch = (branch * most + tokens).unique(return_inverse=True)
        parents, chosen = pairs // most, pairs % most
        rows = len(self.positions)
        few_gone = max(len(parents), MIN_ROWS) > rows - max(1, rows // DROP_SHARE)
        if self.cache is not None and len(parents.unique()) == len(parents) and few_gone:
            tokens = torch.zeros(rows, dtype=tokens.dtype)  # no branch parts: each goes on where it is
            tokens[parents] = chosen
            self.branch = parents[self.branch]
        else:
            fill = max(0, MIN_ROWS - len(parents))
            parents, tokens = (torch.cat([part, part[-1:].expand(fill)]) for part in (parents, chosen))
            self.positions = self.positions[parents]
            if self.cache is None:
                self.cache = self.new_cache(parents)
            else:
                self.cache.select(parents)
        self.positions = self.positions + 1
        return tokens
