"""SIGTERM, SIGINT and SIGHUP end a training run at the next step boundary, with a checkpoint.

A second SIGTERM or SIGINT ends it at once. A second SIGHUP does not: a terminal that closes sends several. Under nohup
SIGHUP stays ignored."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from common.processes import is_main_process, launched
from common.terminal import stop_signals, tell_from_handler

# A launcher passes a Ctrl-C on to processes that the terminal has sent it to already.
SAME_SIGNAL_SECONDS = 3.0


class Interruption(TrainerCallback):
    """`with Interruption(trainer): trainer.train()`; then `signal` is the number that ended the run early, or None."""

    def __init__(self, trainer):
        trainer.add_callback(self)
        self.signal: int | None = None
        self._received: int | None = None
        self._since = 0.0
        self._handlers = {}

    def __enter__(self):
        for number in stop_signals():
            self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if self._received is not None:
            if number == signal.SIGHUP:
                return
            if launched() and time.monotonic() - self._since < SAME_SIGNAL_SECONDS:
                return
            os._exit(128 + number)
        self._received, self._since = number, time.monotonic()
        if is_main_process():
            tell_from_handler(f"{signal.Signals(number).name}: saving after this step; once more ends at once")

    def on_step_end(self, args, state, control, **kwargs):
        """All processes decide alike: one that received a signal stops them all."""
        number = self._received or 0
        if torch.distributed.is_initialized():
            largest = torch.tensor(number, device=args.device)
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
            number = int(largest)
        if number and state.global_step < state.max_steps:
            self.signal = number
            control.should_save = control.should_training_stop = True

    def line(self, checkpoint: Path) -> str:
        """What to tell the user at the end."""
        name = signal.Signals(self.signal).name
        return f"{name}: stopped; {checkpoint} is saved. Go on with the same command and --resume"
