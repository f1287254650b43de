"""How long a run takes: one rollout batch and its updates timed on this device, or a bound from arithmetic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from update.memory import Counts, Shape, Work, checkpoints, passes

WARM_UP = 16  # completion tokens of the untimed step


@dataclass(frozen=True)
class Card:
    """Peaks of the maker's data sheet: half-precision arithmetic without sparsity, and memory traffic, per second."""

    name: str
    operations: float
    bytes: float


CARDS = (
    Card("T4", 65e12, 320e9),
    Card("A100 80 GB", 312e12, 2039e9),
    Card("H100 SXM", 989e12, 3350e9),
)


@dataclass(frozen=True)
class Timing:
    """Of each length: seconds of a rollout batch with its updates, and those of the rollout alone."""

    seconds: list[float]
    rollouts: list[float]
    peak: int = 0  # bytes allocated on the GPU at most, once the first, untimed batch was done
    weights: str = ""  # what kind of weights it was timed with


# -- a bound --------------------------------------------------------------------------------------------------------


def bound(card: Card, shape: Shape, counts: Counts, work: Work) -> float:
    """Seconds that one rollout batch and its updates take at least, on a card that never waits.

    Two operations for each weight and token (and four for each query-key pair), once forward and once backward, again
    for the gradients of trained weights and again under gradient checkpointing; the frozen vision tower forward only.
    Decoding reads all weights of the language model, and the keys and values so far, once for each token.
    """
    parts = passes(work)
    again = replace(work, checkpointing=checkpoints(shape, counts, work, parts))
    updates = sum(update_operations(shape, counts, again, rows) for rows in parts)
    prompts, rows, head = work.prompts_in_rollout, work.rows * work.updates, shape.vocabulary * shape.hidden
    prefill = prompts * (2 * counts.layers * work.prompt + 2 * counts.vision_layers * work.patches)
    copies = prompts if work.engine else rows
    held = copies * work.prompt + rows * work.completion / 2  # half of a completion on average
    read = work.weight_bytes * (counts.layers + head + 2 * shape.layers * shape.key_value * held)
    decoding = work.completion * max(read / card.bytes, 2 * rows * (counts.layers + head) / card.operations)
    return (work.updates * updates + prefill) / card.operations + decoding


def update_operations(shape: Shape, counts: Counts, work: Work, rows) -> float:
    """Operations of one forward and backward pass over these completions."""
    prompts = {row.prompt for row in rows} if work.packed else rows
    tokens = len(prompts) * work.prompt + sum(row.tokens for row in rows)
    pairs = len(prompts) * work.prompt**2 / 2
    pairs += sum(row.tokens * (row.prompt_tokens + row.tokens / 2) for row in rows)
    scored = sum(row.tokens for row in rows)
    language = 2 * counts.layers * tokens + 4 * shape.query * shape.layers * pairs
    ways = 2 + (not work.rank) + work.checkpointing
    tower = 2 * counts.vision_layers * work.patches * len(prompts)
    # the head computes its tiles a second time in the backward pass, then the gradient of its input
    return (
        ways * language
        + (3 + (not work.rank)) * 2 * shape.vocabulary * shape.hidden * scored
        + (ways if not work.rank else 1) * tower
    )


# -- a measurement --------------------------------------------------------------------------------------------------


def time_steps(trainer, lengths: Sequence[int]) -> Timing:
    """Times a rollout batch and its updates with completions of exactly each of these lengths.

    A first one with short completions is not timed. No completion may end before the length, and every one is given
    weight, whatever the method: what is timed is the longest an update of this kind takes. Nothing is saved.
    """
    import torch
    from transformers.trainer_utils import SaveStrategy

    from training.report import TrainingProgress

    per_rollout = trainer.args.steps_per_generation // trainer.args.gradient_accumulation_steps
    clock = _clock([min(WARM_UP, *lengths), *lengths], per_rollout)(trainer)
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


def _clock(lengths: Sequence[int], per_rollout: int):
    """A callback that notes the time after every rollout batch's updates and sets the next length."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self, trainer):
            self.trainer, self.times, self.left = trainer, [], list(lengths)
            self.on_gpu = torch.cuda.is_available()
            self.next_length()

        def next_length(self):
            self.trainer.max_completion_length = self.trainer.generation_config.max_new_tokens = self.left.pop(0)

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % per_rollout == 0:
                self.times.append(now())
                if self.on_gpu and len(self.times) == 1:  # what the process has held before is none of this run's
                    torch.cuda.reset_peak_memory_stats()
                if self.left:
                    self.next_length()

    return Clock


def _give_every_row_weight(trainer) -> None:
    import torch

    scored, replace_advantages = trainer._calculate_rewards, trainer._replace_advantages
    trainer._calculate_rewards = lambda *args: scored(*args).nan_to_num_(0.0)
    trainer._replace_advantages = lambda output, weights, local: replace_advantages(
        output, torch.ones_like(weights), local
    )


def now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
