"""How long a run takes: one rollout batch and its updates, timed on this device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from training.report import TrainingProgress

WARM_UP = 16  # completion tokens of the untimed step


@dataclass(frozen=True)
class Timing:
    """Of each length: seconds of a rollout batch with its updates, and those of the rollout alone."""

    seconds: list[float]
    rollouts: list[float]
    peak: int = 0  # bytes allocated on the GPU at most, once the first, untimed batch was done


def time_steps(trainer, lengths: Sequence[int]) -> Timing:
    """Times a rollout batch and its updates with completions of exactly each of these lengths.

    A first one with short completions is not timed. No completion may end before the length, and every one is given
    weight, whatever the method: what is timed is the longest an update of this kind takes. Nothing is saved.
    """
    per_rollout = trainer.args.steps_per_generation // trainer.args.gradient_accumulation_steps
    clock = Clock(trainer, [min(WARM_UP, *lengths), *lengths], per_rollout)
    trainer.args.max_steps = per_rollout * (1 + len(lengths))
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.remove_callback(TrainingProgress)
    trainer.add_callback(clock)
    suppressed = trainer.generation_config.suppress_tokens or []
    trainer.generation_config.suppress_tokens = [*suppressed, *trainer.eos_token_ids]
    _give_every_row_weight(trainer)
    trainer.train()
    logged = [entry["time/rollout"] for entry in trainer.state.log_history if "time/rollout" in entry]
    per_batch = [sum(logged[start : start + per_rollout]) for start in range(0, len(logged), per_rollout)]
    seconds = [end - start for start, end in zip(clock.times, clock.times[1:], strict=False)]
    return Timing(seconds, per_batch[1:], torch.cuda.max_memory_allocated() if clock.on_gpu else 0)


class Clock(TrainerCallback):
    """Notes the time after the updates of every rollout batch and sets the length of the next completions."""

    def __init__(self, trainer, lengths: Sequence[int], per_rollout: int):
        self.trainer, self.left, self.per_rollout = trainer, list(lengths), per_rollout
        self.times: list[float] = []
        self.on_gpu = torch.cuda.is_available()
        self.next_length()

    def next_length(self):
        self.trainer.max_completion_length = self.trainer.generation_config.max_new_tokens = self.left.pop(0)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.per_rollout == 0:
            self.times.append(now())
            if self.on_gpu and len(self.times) == 1:  # what the process has held before is none of this run's
                torch.cuda.reset_peak_memory_stats()
            if self.left:
                self.next_length()


def _give_every_row_weight(trainer) -> None:
    scored, replace_advantages = trainer._calculate_rewards, trainer._replace_advantages
    trainer._calculate_rewards = lambda *args: scored(*args).nan_to_num_(0.0)
    trainer._replace_advantages = lambda output, weights, local: replace_advantages(
        output, torch.ones_like(weights), local
    )


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
