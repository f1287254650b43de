"""Log-probabilities that ought to agree, as metrics: `ratio/max` and `rollout/logp_gap`.

With a negative advantage the clipped objective bounds the ratio pi / pi_old from below only: nothing holds a wrong
token back whose probability has grown since it was drawn, and its gradient grows with the ratio. TRL reports how many
tokens are clipped, not how far the ratio has gone. `negative_ratio_cap` bounds it (TOPR, arXiv 2503.14286, has 1).

The rollout draws a token from one computation of the model and the update differentiates another; at the same weights
they differ by rounding alone. A gap beyond that means that one of the two is wrong.
"""

import math
from typing import ClassVar

import torch

from checkpoints.trainer_base import TrainerBase
from update.collate import loss_mask

METRIC, GAP = "ratio/max", "rollout/logp_gap"


class RatioMetric(TrainerBase):
    """GRPOTrainer that compares an update's log-probabilities with older ones, over all passes and processes.

    `ratio/max`, the largest ratio of any scored token with weight: without several updates per rollout batch TRL keeps
    no old log-probabilities, the ratio is 1 and nothing is logged. `rollout/logp_gap`, the mean absolute difference
    per token to the rollout's own (`rollout_logps`) in the first update after it, before any weight has moved.
    """

    resumable: ClassVar[tuple[str, ...]] = ("_gap_so_far",)
    negative_ratio_cap: float | None = None  # the weight of a token with negative advantage grows to this ratio at most

    _capped: dict | None = None  # inputs of the pass in hand whose ratios are capped
    _logps: torch.Tensor | None = None  # (B, T) of the pass in hand
    _gap: torch.Tensor | None = None  # (2,) sum and number of tokens since the last log, on this process
    _gap_of_update: torch.Tensor | None = None  # (3,) the same of the update in hand, and the sum with its signs

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._logps = found[0].detach()
        if self._capped is not None and self.negative_ratio_cap is not None:
            # the ratio's value becomes the cap, and its gradient that of the log-probability times the cap
            old, least = self._capped["old_per_token_logps"], self._logps - math.log(self.negative_ratio_cap)
            wrong = (self._capped["advantages"] < 0).unsqueeze(1)  # (B, 1)
            self._capped["old_per_token_logps"] = torch.where(wrong, old.maximum(least), old)
        return found

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        old = inputs.get("old_per_token_logps")
        if self.negative_ratio_cap is not None and old is not None:
            inputs = self._capped = dict(inputs)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._capped = None
        if self.model.training and old is not None:
            counts = loss_mask(inputs).bool() & (inputs["advantages"] != 0).unsqueeze(1)  # (B, T)
            ratios = (self._logps - old).exp().masked_fill(~counts, 0.0)
            largest = self.accelerator.gather(ratios.max()).max().item()
            if largest:  # 0: no token of this pass counts
                self._metrics["train"][METRIC] = [max([largest, *self._metrics["train"][METRIC]])]
        every = self.args.steps_per_generation * self.num_iterations
        first = self._step % every < self.args.gradient_accumulation_steps
        if self.model.training and first and "rollout_logps" in inputs:
            self._add_gap(inputs["rollout_logps"] - self._logps, loss_mask(inputs).bool())
        self._logps = None
        return loss

    def _add_gap(self, gaps: torch.Tensor, counts: torch.Tensor) -> None:
        gaps = gaps.masked_fill(~counts, 0.0).double()
        found = torch.stack([gaps.abs().sum(), counts.sum(), gaps.sum()])
        self._gap = found[:2] if self._gap is None else self._gap + found[:2]
        self._gap_of_update = found if self._gap_of_update is None else self._gap_of_update + found

    def _take_gap(self) -> tuple[float, float] | None:
        """The update in hand over all processes, which must all ask: how far a token's log-probability in the rollout
        was from the trainer's on average, and how far above it. None where none was compared."""
        found = self._gap_of_update
        self._gap_of_update = None
        sums = torch.zeros(3, dtype=torch.float64, device=self.accelerator.device) if found is None else found
        apart, tokens, above = self.accelerator.reduce(sums, reduction="sum").tolist()
        return (apart / tokens, above / tokens) if tokens else None

    @property
    def _gap_so_far(self) -> list[float] | None:
        """`_gap` as numbers, for a checkpoint between two logs."""
        return None if self._gap is None else self._gap.tolist()

    @_gap_so_far.setter
    def _gap_so_far(self, sums: list[float] | None) -> None:
        self._gap = None if sums is None else torch.tensor(sums, dtype=torch.float64, device=self.accelerator.device)

    def log(self, logs, start_time=None):
        if self.model.training and self._gap is not None:
            total, tokens = self.accelerator.reduce(self._gap, reduction="sum").tolist()
            self._gap = None
            if tokens:  # 0: no completion of these updates had weight
                self._metrics["train"][GAP].append(total / tokens)
        super().log(logs, start_time)
