"""Run by test_guard.py on two processes, with and without DeepSpeed: in update 2 one process's gradient becomes NaN.

Writes, for each process, the weights after every update and the count that was logged.
"""

import json
import math
import os
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from tests import one_layer
from trainers.trainer import TRAINERS
from training.hardware import skip_deepspeed_compilation

COMPLETIONS = ["a b .", "b c d .", "a .", "c b ."]
UPDATES, BAD = 4, 2


class WeightsAfterEveryUpdate(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen.append(gathered(model))


def gathered(model) -> list[float]:
    import deepspeed

    weights = list(model.parameters())
    with deepspeed.zero.GatheredParameters([weight for weight in weights if hasattr(weight, "ds_id")]):
        return torch.cat([weight.detach().flatten().float() for weight in weights]).tolist()


def main(folder: str) -> None:
    rank = int(os.environ["RANK"])
    skip_deepspeed_compilation()
    trainer = one_layer.trainer(TRAINERS["nsr"], folder, generations=2, batch=4, rows=16, max_steps=UPDATES)
    one_layer.fix_rollouts(trainer, COMPLETIONS)
    watch = WeightsAfterEveryUpdate()
    trainer.add_callback(watch)

    def spoil(module, inputs, output):
        if rank == 1 and trainer.state.global_step == BAD - 1 and output.requires_grad:
            output.register_hook(lambda gradient: gradient * math.nan)

    trainer.accelerator.unwrap_model(trainer.model).model.norm.register_forward_hook(spoil)
    trainer.train()
    counts = [e["decomposed/non_finite_updates"] for e in trainer.state.log_history if "loss" in e]
    kind = str(trainer.accelerator.distributed_type)
    Path(folder, f"rank_{rank}.json").write_text(json.dumps({"weights": watch.seen, "counts": counts, "kind": kind}))


if __name__ == "__main__":
    main(*sys.argv[1:])
