"""A measurement on the held-out charts: Pass@k from several completions of each question.

TRL's evaluation draws and scores them (`num_generations_eval` of each question). Here every question is counted once,
on however many processes, and with more than one completion unbiased Pass@k is logged beside TRL's averages. Such a
measurement computes no loss: its completions, up to hundreds of a question, are drawn and scored and that is all.
"""

from collections.abc import Sequence

import numpy as np
import torch

from checkpoints.trainer_base import TrainerBase
from evaluation.estimators import pass_at_k, powers_of_two
from evaluation.intervals import bootstrap_intervals


class HeldOut(TrainerBase):
    """GRPOTrainer that counts every held-out question once and logs Pass@1 to Pass@n.

    `held_out_charts`: the chart of every row of the evaluation set; None: each row is a chart of its own.
    """

    _charts: list[str] | None = None  # of the questions of the measurement in hand, in its order
    _to_count: int | None = None  # completions of it on all processes that are still to come; None: no measurement

    def __init__(self, *args, held_out_charts: Sequence[str] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.held_out_charts = held_out_charts
        self._verdicts: list[torch.Tensor] = []  # 1, 0 or NaN of every completion counted

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        measured = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(measured, dict):  # transformers comes back here with the name or the rows of each
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        measured = self.eval_dataset[measured] if isinstance(measured, str) else measured
        charts = self.held_out_charts if eval_dataset is None else None
        order = [*self._get_eval_sampler(measured)][:: self.num_generations_eval]
        self._charts = [charts[row] for row in order] if charts else None
        self._to_count, self._verdicts = len(order) * self.num_generations_eval, []
        try:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        finally:
            self._to_count, self._verdicts = None, []

    def _count_once(self, correct: torch.Tensor) -> torch.Tensor:
        """Those of a batch of all processes (P*B,) that are counted: several processes fill their last batches up with
        the first questions again."""
        if self._to_count is not None:
            correct = correct[: self._to_count]
            self._to_count -= len(correct)
            self._verdicts.append(correct)
        return correct

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        if self.num_generations_eval == 1:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        self._prepare_inputs(inputs)
        return None, None, None

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        """Zeros (B, C) for the old and the reference log-probabilities of a measurement, which nothing would read."""
        if self.model.training or self.num_generations_eval == 1:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        unread = torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device)
        return unread, unread, None

    def log(self, logs, start_time=None):
        if self._verdicts and self.num_generations_eval > 1:
            correct = torch.cat(self._verdicts).view(-1, self.num_generations_eval)
            found = pass_at_k_metrics(correct.cpu().numpy(), self._charts)
            self._metrics["eval"].update({name: [value] for name, value in found.items()})
        super().log(logs, start_time)


def pass_at_k_metrics(correct: np.ndarray, charts: Sequence[str] | None = None) -> dict[str, float]:
    """Pass@k over questions, with the ends of its 95 % interval, for k = 1, 2, 4 ... and n.

    `correct` (Q, n): 1, 0, or NaN for no verdict, which is not a right one; a question without any verdict is left out.
    `charts` (Q,): those drawn together for the intervals.
    """
    judged = ~np.isnan(correct).all(axis=1)
    if not judged.any():
        return {}
    right, n = (correct[judged] == 1).sum(axis=1), correct.shape[1]
    ks = sorted({*powers_of_two(n), n})
    table = pass_at_k(np.full(len(right), n), right, ks)  # (Q, K)
    names = np.arange(len(correct)).astype(str) if charts is None else np.asarray(charts)
    bounds = bootstrap_intervals(table, names[judged].tolist(), within=(0.0, 1.0))
    found: dict[str, float] = {}
    for k, value, (low, high) in zip(ks, table.mean(axis=0).tolist(), bounds.tolist(), strict=True):
        found |= {f"pass@{k}": value, f"pass@{k}/low": low, f"pass@{k}/high": high}
    return found
