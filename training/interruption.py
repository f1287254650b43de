"""SIGTERM, SIGINT and SIGHUP end a training run at the next step boundary, with a checkpoint.

A second SIGTERM or SIGINT ends it at once. A second SIGHUP does not: a terminal that closes sends several. Under nohup
SIGHUP stays ignored."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from transformers import TrainerCallback

from common.launcher import is_main_process
from common.signals import SignalReceiver, say_from_handler


class Interruption(SignalReceiver, TrainerCallback):
    """`with Interruption(trainer): trainer.train()`; then `signal` is the number that ended the run early, or None."""

    def __init__(self, trainer):
        trainer.add_callback(self)
        self.signal: int | None = None

    def on_first(self, number: int) -> None:
        if is_main_process():
            say_from_handler(f"{signal.Signals(number).name}: saving after this step; once more ends at once")

    def on_second(self, number: int) -> None:
        os._exit(128 + number)

    def on_step_end(self, args, state, control, **kwargs):
        """All processes decide alike: one that received a signal stops them all."""
        number = self.received or 0
        if torch.distributed.is_initialized():
            largest = torch.tensor(number, device=args.device)
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
            number = int(largest)
        if number and state.global_step < state.max_steps:
            self.signal = number
            control.should_save = control.should_training_stop = True

    def line(self, checkpoint: Path) -> str:
        """What to tell the user at the end."""
        assert self.signal is not None
        name = signal.Signals(self.signal).name
        return f"{name}: stopped; {checkpoint} is saved. Go on with the same command and --resume"
