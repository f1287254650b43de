"""How well the machine is used: `memory/gpu_gb`, `memory/host_gb` and `mfu` among the metrics.

MFU is the share of the GPU's dense 16-bit matrix rate that the passes of the update reach, on the mean of all
processes: 2 operations for each weight and token forward, 2 for the gradient of the activations, 2 more for that of
the weights where they are trained. Weights are the language model's matrices; the vision tower and attention's products
are left out, so that the true share is a little higher. Rollouts are not in it: decoding waits for memory.
"""

from __future__ import annotations

import re
import resource
from typing import ClassVar

import torch

from checkpoints.trainer_base import TrainerBase
from update.memory import GIGABYTE, shape_of

# 10^12 operations a second, dense, 16 bits, as the makers say; the first name in that of the device
# counts, where no digit follows it (L4 is not L40)
RATES = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121,
    "A10": 125, "T4": 65, "V100": 125, "4090": 165, "3090": 71,
}  # fmt: skip


def device_rate() -> float | None:
    """Operations a second of the GPU in use; None without one and for one that is not in the table."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((1e12 * rate for known, rate in RATES.items() if re.search(rf"{known}(?!\d)", name)), None)


def matrix_weights(config) -> int:
    """Weights of the language model that every token is multiplied with. ValueError for layers called otherwise."""
    shape = shape_of(config)
    layer = shape.hidden * (2 * shape.query + 2 * shape.key_value + 3 * shape.inner)
    return shape.layers * layer + shape.vocabulary * shape.hidden


class Usage(TrainerBase):
    """GRPOTrainer that logs the peaks of memory over all processes, and the MFU of the update."""

    resumable: ClassVar[tuple[str, ...]] = ("_tokens_updated",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._tokens_updated = 0  # that passes with a gradient have computed on this process since the last log
        self.model.register_forward_pre_hook(self._count_tokens, with_kwargs=True)

    def _count_tokens(self, model, args, given) -> None:
        if torch.is_grad_enabled() and model.training and "input_ids" in given:
            self._tokens_updated += given["input_ids"].numel()

    def log(self, logs, start_time=None):
        if self.model.training and "loss" in logs:
            mine = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE, 0.0, 0.0]
            if torch.cuda.is_available():
                mine[1:] = torch.cuda.max_memory_allocated() / GIGABYTE, self._mfu(logs.get("time/update", 0.0))
            everyone = self.accelerator.gather(torch.tensor([mine], device=self.accelerator.device))
            logs["memory/host_gb"], gpu, _ = everyone.amax(0).tolist()
            mfu = everyone[:, 2].mean().item()
            logs |= {name: value for name, value in (("memory/gpu_gb", gpu), ("mfu", mfu)) if value}
            self._tokens_updated = 0
        super().log(logs, start_time)

    def _mfu(self, seconds: float) -> float:
        """0 where it is not known: in float32, on a GPU that is not in the table, for layers called otherwise."""
        rate = device_rate()
        if not rate or not seconds or not (self.args.bf16 or self.args.fp16):
            return 0.0
        trains_all = all(weight.requires_grad for weight in self.model.parameters())
        try:
            operations = (6 if trains_all else 4) * matrix_weights(self.model.config)
        except ValueError:
            return 0.0
        return operations * self._tokens_updated / seconds / rate
