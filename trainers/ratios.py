"""The largest probability ratio of an update, as a metric: `ratio/max`.

With a negative advantage the clipped objective bounds the ratio pi / pi_old from below only: nothing holds a wrong
token back whose probability has grown since it was drawn, and its gradient grows with the ratio. TRL reports how many
tokens are clipped, not how far the ratio has gone.
"""

from __future__ import annotations

from trl import GRPOTrainer

from trainers.row_tensors import loss_mask

METRIC = "ratio/max"


class RatioMetric(GRPOTrainer):
    """GRPOTrainer that logs the largest ratio of any scored token with weight, over all passes and processes.

    Without several updates per rollout batch TRL keeps no old log-probabilities, the ratio is 1 and nothing is logged.
    """

    _logps = None

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._logps = found[0].detach()
        return found

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        old = inputs.get("old_per_token_logps")
        if self.model.training and old is not None:
            counts = loss_mask(inputs).bool() & (inputs["advantages"] != 0).unsqueeze(1)  # (B, T)
            ratios = (self._logps - old).exp().masked_fill(~counts, 0.0)
            largest = self.accelerator.gather(ratios.max()).max().item()
            if largest:  # 0: no token of this pass counts
                self._metrics["train"][METRIC] = [max([largest, *self._metrics["train"][METRIC]])]
        self._logps = None
        return loss
