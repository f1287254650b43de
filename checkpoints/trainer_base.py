"""What the classes that the trainer is made of need from each other. `trainers.trainer` puts them together."""

import sys
from typing import Any, ClassVar

from tqdm import tqdm
from trl import GRPOTrainer


class TrainerBase(GRPOTrainer):
    """GRPOTrainer that prints lines of its own, knows when a run must end, and names what a checkpoint must hold.

    `resumable`: each class names here, for itself alone, the attributes that its next update depends on or that sum up
    what has not been logged; JSON must hold their values. `unhealthy`: why the run must end, as one line; else None.
    """

    resumable: ClassVar[tuple[str, ...]] = ("_step", "_globalstep_last_logged")
    unhealthy: str | None = None

    # TRL's and transformers', which declare no types
    _step: int  # micro-batches so far, on this process
    _globalstep_last_logged: int
    log_completions: bool
    _buffered_inputs: list[dict[str, Any]]  # the micro-batches of the rollout batch in use; None before the first
    _metrics: dict[str, dict[str, list[float]]]  # phase -> metric -> values since the last log

    @property
    def _phase(self) -> str:
        """The key of `_metrics` for what is going on: "train", or "eval" for a measurement on the held-out charts."""
        return "train" if self.model.training else "eval"

    def _print(self, line: str) -> None:
        """A line on stdout, past the progress bar, from the main process alone."""
        if self.accelerator.is_main_process:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def _end_unhealthy(self, line: str) -> None:
        """Lets the update in hand be the last one, and a checkpoint follow it. Every process must call this."""
        self.unhealthy = line
        self.control.should_training_stop = self.control.should_save = True

    @classmethod
    def _resumable_names(cls) -> list[str]:
        """The `resumable` of every class in the stack."""
        return [name for one in reversed(cls.__mro__) for name in vars(one).get("resumable", ())]
