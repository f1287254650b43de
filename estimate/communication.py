"""What the processes of a run send each other: bytes an update, for each process, by the usual ring algorithms.

An all-reduce of S bytes over N processes has each of them send 2 (N - 1) / N S, half of it for the sum and half for the
result; an all-gather or a reduce-scatter (N - 1) / N S. Not counted: verdicts and texts of the completions, some
kilobytes each. tests/test_communication.py holds the numbers against bytes really sent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from update.memory import GIGABYTE, Counts, Work, checkpoints, passes

if TYPE_CHECKING:
    from estimate.report import Job

SHOWN = 8  # processes, where one process asks


@dataclass(frozen=True)
class Traffic:
    """Bytes that each process sends, and receives, in one update."""

    gradients: float = 0.0
    weights: float = 0.0  # gathered for the update's passes, or after the optimiser's step
    rollout: float = 0.0  # weights gathered to draw completions, a rollout batch's divided over its updates
    gathers: int = 0  # of all weights, in a pass

    @property
    def total(self) -> float:
        return self.gradients + self.weights + self.rollout


def traffic(counts: Counts, work: Work, parts: int, recomputes: bool) -> Traffic:
    """`parts` forward and backward passes an update; `recomputes`: under gradient checkpointing.

    Without DeepSpeed float32 gradients are summed once an update, after its last pass. ZeRO-2 and ZeRO-3 sum those of
    every pass, in the weights' type; ZeRO-3 gathers every layer's weights when it is computed: forward, again where it
    is recomputed, and backward (at most: DeepSpeed keeps up to 10^9 of them for their next use); and all of them at
    once for a rollout.
    """
    share = (work.processes - 1) / work.processes
    if not work.zero:
        return Traffic(gradients=2 * share * 4 * counts.trained)
    trained = share * counts.trained * work.weight_bytes
    if work.zero < 3:
        return Traffic(gradients=trained * (parts if work.zero == 2 else 1), weights=trained)
    every, gathers = share * counts.total * work.weight_bytes, 3 if recomputes else 2
    return Traffic(trained * parts, every * gathers * parts, every / work.updates, gathers)


def lines(job: Job) -> Iterator[str]:
    """The line of --estimate: of this run, and the sum of the other kind of training."""
    args, processes = job.args, job.processes if job.processes > 1 else SHOWN
    found = of(job, args, processes)
    other = of(job, argparse.Namespace(**{**vars(args), "no_lora": not args.no_lora}), processes)
    who = f"each of {processes} processes" if job.processes > 1 else f"one process nothing, each of {processes}"
    parts = [f"{_gb(found.gradients)} of gradients"]
    if found.gathers:
        parts += [f"{_gb(found.weights)} of weights, gathered {found.gathers} times a pass"]
        parts += [f"{_gb(found.rollout)} of them for the rollout"]
    elif found.weights:
        parts += [f"{_gb(found.weights)} of weights after the step"]
    yield (
        f"Network     an update, {who} sends and receives {_gb(found.total)} ({', '.join(parts)}); with "
        f"{'LoRA' if args.no_lora else '--no-lora'} {_gb(other.total)}"
    )


def of(job: Job, args: argparse.Namespace, processes: int) -> Traffic:
    """The traffic of a run with these flags."""
    work, counts = replace(job.work(args), processes=processes), job.counts(args)
    parts = passes(work)
    return traffic(counts, work, len(parts), checkpoints(job.shape, counts, work, parts))


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.3g} GB"
