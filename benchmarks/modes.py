"""What a mode costs beside NSR: the time of a step, of every mode on the same completions and the same weights.

    OMP_NUM_THREADS=1 python benchmarks/modes.py
    OMP_NUM_THREADS=1 python benchmarks/modes.py --modes nsr cw-nsr passk --steps 40

Every mode samples, scores and weighs as in training; then all update from the same rows, those that NSR would keep, so
that their weights, and with them the completions of the next step, stay equal (checked: the gradients of every step are
the same bits). The modes take their steps in turn, so that what a machine gains or loses in a minute meets all of them,
and NSR is there twice: ratios are to the mean of both, what they differ is the noise. On a CPU the seconds are those of
this process alone, which a busy machine does not lengthen by the time it gives to others. All models are in memory
together: name few with --modes where they are large.
"""

import argparse
import contextlib
import io
import random
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measuring
from benchmarks.updates import Work, run
from benchmarks.workloads import add_update_flags
from common.commands import Parser, check_least, program
from study.compare_modes import complete_modes
from trainers.trainer import TRAINERS

now = measuring.now if torch.cuda.is_available() else time.process_time
BASE, AGAIN = "nsr", "nsr again"  # what the others are compared with, and its noise


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--modes", nargs="+", default=complete_modes(), choices=complete_modes(), metavar="MODE")
    add_update_flags(parser)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a mode; one more warms up")
    return check_least(parser.parse_args(argv), longest=1, steps=1)


class Turns(TrainerCallback):
    """A training run in a thread of its own that makes one step whenever `step` is called.

    The random numbers of the process are put away between its steps, as several such runs share them.
    """

    def __init__(self, mode: str, args: argparse.Namespace):
        self.mode, self.args = mode, args
        self.seconds: list[float] = []
        self.go, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.ended, self.error = False, None
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()
        self._wait()

    def step(self) -> torch.Tensor:
        """The gradient of the next step; its seconds, rollout and optimiser included, are appended to `seconds`."""
        assert not self.ended, f"{self.mode} ended before its last step"
        self.go.release()
        self._wait()
        return self.gradient

    def _wait(self) -> None:
        self.stopped.acquire()
        if self.error:
            raise self.error

    def _train(self) -> None:
        work = Work(generations=8, kept=0.5, ratio=4, longest=self.args.longest)
        try:
            run(
                TRAINERS[self.mode.split()[0]], self.args, work, steps=self.args.steps + 1,
                dtype=getattr(torch, self.args.dtype), sampled=True, callbacks=[self],
            )  # fmt: skip
        except BaseException as error:  # raised again where the steps are asked for
            self.error = error
        self.ended = True
        self.stopped.release()

    def on_step_begin(self, args, state, control, **kwargs):
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        self.stopped.release()
        self.go.acquire()
        for put_back, kept in zip((torch.set_rng_state, np.random.set_state, random.setstate), states, strict=True):
            put_back(kept)
        self.start = now()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(now() - self.start)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


def compare(args: argparse.Namespace) -> int:
    modes = [*dict.fromkeys([BASE, *args.modes]), AGAIN]
    with contextlib.redirect_stdout(io.StringIO()):  # what the runs print
        runs = {mode: Turns(mode, args) for mode in modes}
        for number in range(args.steps + 1):
            gradients = {mode: runs[mode].step() for mode in (modes if number % 2 else reversed(modes))}
            unlike = [mode for mode in modes if not gradients[mode].equal(gradients[BASE])]
            assert not unlike, f"{', '.join(unlike)}: another gradient than nsr's"
            print(f"step {number}: nsr {runs[BASE].seconds[-1]:.3f} s", file=sys.stderr, flush=True)
    took = {mode: one.seconds[1:] for mode, one in runs.items()}
    both = [(one + other) / 2 for one, other in zip(took[BASE], took[AGAIN], strict=True)]
    print(
        f"A step with its rollout: medians of {args.steps} steps; quartiles of the ratios to both nsr of the same step"
    )
    for mode in modes:
        ratios = [own / base for own, base in zip(took[mode], both, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print(f"  {mode:12s} {statistics.median(took[mode]):7.3f} s   {middle:.3f} [{low:.3f}, {high:.3f}]")
    return 0


main = program(parse_args, compare)

if __name__ == "__main__":
    sys.exit(main())
