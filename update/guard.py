"""An update whose loss or gradient is not finite moves nothing, on any process, and is counted; several end the run.

A loss that is not finite makes its process's gradient NaN, and summing gradients over processes makes every process's
so: all of them see one gradient norm and decide alike without a word between them. Under DeepSpeed the optimiser itself
discards such a step; elsewhere the gradients are dropped before it. Weights, optimiser states and its step count stay.
"""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import torch

from checkpoints.trainer_base import TrainerBase


class Guard(TrainerBase):
    """GRPOTrainer that skips updates with non-finite numbers and stops after `max_bad_updates` of them in a row.

    `unhealthy` is then the line that says so. With fp16 a gradient beyond its range is the loss scaler's own affair: it
    skips the step and lowers the scale, so there only a loss that is not finite counts.
    """

    resumable: ClassVar[tuple[str, ...]] = ("_bad_updates", "_bad_in_a_row")

    def __init__(self, *args, max_bad_updates: int = 5, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_bad_updates = max_bad_updates
        self._bad_updates = self._bad_in_a_row = 0
        self._losses: list[float] = []  # of this update's forward passes on this process

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            self._losses.append(float(loss.detach()))
            if not math.isfinite(self._losses[-1]):
                loss = loss * math.nan  # an infinite loss can have a finite gradient
        return loss

    def _clip_grad_norm(self, model):
        """The norm before clipping; when it is not finite the gradients are dropped, and the optimiser does nothing."""
        norm = super()._clip_grad_norm(model)
        bad = not math.isfinite(norm)
        if bad and self.accelerator.scaler is not None:
            bad = self._any_process(not all(map(math.isfinite, self._losses)))
        elif bad and not self.is_deepspeed_enabled:
            for weight in model.parameters():
                weight.grad = None
        self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
        if bad:
            self._bad_updates += 1
            self._report_bad_update()
        self._metrics["train"]["decomposed/non_finite_updates"] = [self._bad_updates]
        self._losses = []
        return norm

    def _any_process(self, flag: bool) -> bool:
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, reduction="sum"))

    def _report_bad_update(self) -> None:
        what = "loss" if self._any_process(not all(map(math.isfinite, self._losses))) else "gradient"
        step = self.state.global_step + 1
        self._print(f"Warning: update {step}: the {what} is not finite; skipped on every process, nothing has moved")
        if self._bad_in_a_row < self.max_bad_updates:
            return
        folder = Path(self.args.output_dir)
        with suppress(OSError):  # a full disk must not make one process leave the others
            self._write_rows(folder / f"non_finite_rows_{self.accelerator.process_index}.json", step)
        self._end_unhealthy(
            f"{self._bad_in_a_row} updates in a row had a {what} that is not finite (--max-bad-updates "
            f"{self.max_bad_updates}); none of them moved a weight. Their last rows are in "
            f"{folder}/non_finite_rows_*.json. What helps: a lower --learning-rate, --precision bf16 or fp32"
        )

    def _write_rows(self, path: Path, step: int) -> None:
        """The rows of the update in hand: prompt, completion, advantage, and the loss of their forward pass."""
        length = self.current_gradient_accumulation_steps
        first = (self._step - length) % self.args.steps_per_generation
        losses, rows = iter(self._losses), []
        for batch in self._buffered_inputs[first : first + length]:
            if not len(batch["advantages"]):  # emptied of rows without weight, and not computed
                continue
            loss = next(losses, math.nan)
            columns: dict[str, list] = {"advantage": batch["advantages"].tolist()}
            for part in ("prompt", "completion"):
                pairs = zip(batch[f"{part}_ids"], batch[f"{part}_mask"], strict=True)
                tokens = [ids[mask.bool()] for ids, mask in pairs]
                columns[part] = self.processing_class.batch_decode(tokens, skip_special_tokens=True)
            for row in zip(*columns.values(), strict=True):
                rows.append({"loss_of_pass": str(loss), **dict(zip(columns, row, strict=True))})
        content = json.dumps({"update": step, "rows": rows}, indent=1, ensure_ascii=False)
        path.write_text(f"{content}\n", encoding="utf-8")
