"""What a mode costs beside NSR: the time of a step, of every mode on the same completions and the same weights.

    OMP_NUM_THREADS=1 python benchmarks/modes.py
    OMP_NUM_THREADS=1 python benchmarks/modes.py --modes nsr cw-nsr passk --rounds 9

Every mode samples, scores and weighs as in training; then all update from the same rows, those that NSR would keep, so
that their weights, and with them the completions of the next step, stay equal (checked: the last gradients are the same
bits). NSR is measured twice in every round, and what it differs from itself is the noise. On a CPU the seconds are
those of this process alone, which a busy machine does not lengthen by the time it gives to others.
"""

import argparse
import gc
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import updates
from benchmarks.updates import Work, run
from benchmarks.workloads import add_update_flags
from common.commands import Parser, check_least, program
from study.compare_modes import complete_modes
from trainers.trainer import TRAINERS

BASE, AGAIN = "nsr", "nsr again"  # what the others are compared with, and its noise


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--modes", nargs="+", default=complete_modes(), choices=complete_modes(), metavar="MODE")
    add_update_flags(parser)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a mode in a round; one more warms up")
    parser.add_argument("--rounds", type=int, default=5)
    return check_least(parser.parse_args(argv), longest=1, steps=1, rounds=1)


def seconds(mode: str, args: argparse.Namespace) -> tuple[list[float], torch.Tensor]:
    """Seconds of each timed step of a mode, rollout included, and the gradient of its last one."""
    work = Work(generations=8, kept=0.5, ratio=4, longest=args.longest)
    trainer, gradient, *_ = run(
        TRAINERS[mode.split()[0]], args, work, steps=args.steps + 1, dtype=getattr(torch, args.dtype), sampled=True
    )
    took = [sum(pair) for pair in zip(trainer.rollouts_took, trainer.updates_took, strict=True)]
    del trainer
    gc.collect()
    return took[1:], gradient


def compare(args: argparse.Namespace) -> int:
    if not torch.cuda.is_available():
        updates.now = time.process_time
    modes = [*dict.fromkeys([BASE, *args.modes]), AGAIN]
    took: dict[str, list[float]] = {mode: [] for mode in modes}  # median step of each round
    for number in range(args.rounds):
        gradients = {}
        for mode in modes if number % 2 == 0 else reversed(modes):
            steps, gradients[mode] = seconds(mode, args)
            took[mode].append(statistics.median(steps))
            print(f"round {number + 1}: {mode} {took[mode][-1]:.3f} s", file=sys.stderr, flush=True)
        unlike = [mode for mode in modes if not gradients[mode].equal(gradients[BASE])]
        assert not unlike, f"{', '.join(unlike)}: another gradient than nsr's"
    print(f"A step with its rollout: medians of {args.rounds} rounds of {args.steps} steps; ratios to nsr of the round")
    for mode in modes:
        ratios = sorted(own / base for own, base in zip(took[mode], took[BASE], strict=True))
        spread = f"[{ratios[0]:.3f}, {ratios[-1]:.3f}]"
        print(f"  {mode:12s} {statistics.median(took[mode]):7.3f} s   {statistics.median(ratios):.3f} {spread}")
    return 0


main = program(parse_args, compare)

if __name__ == "__main__":
    sys.exit(main())
