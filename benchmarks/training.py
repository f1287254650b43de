"""One optimiser step of stock TRL and of this project, on the same weights and the same rollouts.

    OMP_NUM_THREADS=2 python benchmarks/training.py                 # embedded model: sweep, memory, whole step
    OMP_NUM_THREADS=2 python benchmarks/training.py --text          # the text decoder of the model, no images
    OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 benchmarks/training.py --parts sweep
    python benchmarks/training.py --random-weights --dtype bfloat16 --longest 768 --mean-length 200 \\
        --image-tokens 324 --parts whole memory project

Stock is `trl.GRPOTrainer` as it comes; both get the same advantages (-1 for the kept rows, as in NSR) and, in the
sweep, the same completions. Before anything is timed, the gradients of both are compared in float64 (1e-6 normwise:
TRL's head computes in float32). The bound is the quotient of tokens: what stock computes, G (P + longest C) a prompt,
over P + sum of kept C; "tokens left" is the latter, summed over prompts. Times are medians of the repeats, of the
update phase alone unless said otherwise.
"""

import argparse
import gc
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from trl import GRPOTrainer

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measuring import bar_chart
from benchmarks.updates import PROCESSES, RANK, Packed, Work, run
from benchmarks.workloads import add_text_flag, add_update_flags, model_to_measure
from common.commands import Parser, check_least, program, say

PARTS = ("sweep", "memory", "whole", "project")
FULL_RUN = 10_000 * 2  # completions: the README's 10,000 questions, 2 each
TOLERANCE = 1e-6


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add_update_flags(parser)
    add_text_flag(parser)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=PARTS[:3], choices=PARTS, help=", ".join(PARTS))
    parser.add_argument("--plot", type=Path, help="draw the sweep's ratios and bounds into this file")
    args = parser.parse_args(argv)
    if args.text and args.random_weights:
        parser.error("--text: it takes the decoder of --model; leave out --random-weights")
    return check_least(args, longest=1, repeat=1)


def compare(args, work: Work) -> None:
    """Raises AssertionError unless both gradients agree."""
    dtype = torch.float32 if args.random_weights else torch.float64
    flats = []
    for base in (GRPOTrainer, Packed):
        flats.append(run(base, args, work, steps=1, dtype=dtype)[1])
        gc.collect()
    gap = ((flats[0] - flats[1]).norm() / flats[0].norm()).item()
    limit = TOLERANCE if dtype == torch.float64 else 1e-2
    assert flats[0].norm() > 0 and gap < limit, f"gradients differ by {gap:.1e}"
    say(f"gradients agree to {gap:.1e}")


def sweep(args, dtype: torch.dtype) -> None:
    works = [Work(g, kept, 4, args.longest) for g in (2, 4, 8, 16) for kept in (1.0, 0.25)]
    works += [Work(8, kept, 4, args.longest) for kept in (0.5, 0.1)]
    works += [Work(8, kept, ratio, args.longest) for ratio in (1, 2, 8) for kept in (1.0, 0.25)]
    compare(args, works[4])
    compare(args, works[5])
    size = f"{works[0].batch * works[0].accumulation} completions in micro-batches of {works[0].batch}"
    say(f"\nUpdate phase, {PROCESSES} processes, each {size}, medians of {args.repeat}:")
    say("  G   kept  prompt/completion   stock      ours     ratio   bound   of bound   tokens left")
    points = []
    for work in works:
        took, tokens = [], None
        for base in (GRPOTrainer, Packed):
            trainer, _, *tokens = run(base, args, work, steps=args.repeat + 1, dtype=dtype)
            took.append(statistics.median(trainer.updates_took[1:]))
            del trainer
            gc.collect()
        ratio, bound = took[0] / took[1], tokens[0] / tokens[1]
        points.append((tokens[1], took[1], ratio, bound))
        say(
            f"{work.generations:3d} {work.kept:6.0%} {work.ratio:12.0f} {took[0]:15.3f} s {took[1]:7.3f} s "
            f"{ratio:7.2f} {bound:7.2f} {ratio / bound:9.0%} {tokens[1]:10,d}"
        )
    x, y, ratios, bounds = np.array(points, dtype=float).T
    slope, start = np.polyfit(x, y, 1)
    error = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    say(f"\nour update = {start:.3f} s + {slope * 1e6:.1f} us x (prompts + kept completion tokens), R2 = {error:.3f}")
    if args.plot and RANK == 0:
        draw(works, ratios, bounds, args.plot)


def draw(works: list[Work], ratios: np.ndarray, bounds: np.ndarray, path: Path) -> None:
    """A bar a piece of work, with its bound as a tick."""
    order = sorted(range(len(works)), key=lambda i: bounds[i])
    names = [f"G = {works[i].generations}, {works[i].kept:.0%} kept, prompt {works[i].ratio:g} x" for i in order]
    figure, axes = bar_chart(
        names, [ratios[i] for i in order], color="#4477aa", xlabel="update of stock TRL / ours, time", width=7
    )
    axes.plot([bounds[i] for i in order], range(len(order)), "|", color="black", markersize=13, label="token bound")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def memory(args, dtype: torch.dtype) -> None:
    """Peak tensor bytes of an update above the loaded model."""
    say("\nPeak tensor bytes of the update above the loaded model:")
    for work in (Work(g, kept, 4, args.longest) for g in (2, 8) for kept in (1.0, 0.25)):
        peaks = []
        for base in (GRPOTrainer, Packed):
            peaks.append(peak_bytes(base, args, work, dtype))
            gc.collect()
        shown = f"{peaks[0] / 2**20:9.1f} MiB {peaks[1] / 2**20:9.1f} MiB {peaks[1] / peaks[0]:6.0%}"
        say(f"  G = {work.generations:2d}, kept {work.kept:4.0%}: stock, ours, share {shown}")


def peak_bytes(base: type, args, work: Work, dtype: torch.dtype) -> int:
    """Highest sum of live allocations inside `training_step` of the second update, over that at its start."""
    peaks = []

    class Watched(base):
        def training_step(self, *inputs, **more):
            if self._step < work.accumulation or self._step % work.accumulation == 0:  # the first one samples
                return super().training_step(*inputs, **more)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                loss = super().training_step(*inputs, **more)
                peaks.append(torch.cuda.max_memory_allocated() - before)
                return loss
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
                loss = super().training_step(*inputs, **more)
            events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
            changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
            peaks.append(int(np.cumsum(changes).max(initial=0)))
            return loss

    run(Watched, args, work, steps=2, dtype=dtype)
    return max(peaks)


def whole(args, dtype: torch.dtype) -> None:
    """Rollout and update, each side with its own sampling; every token is the last with chance 1 / --mean-length."""
    say("\nWhole step, rollout included (temperature 1, geometric lengths, at most the longest):")
    for kept in (1.0, 0.25):
        work, took = Work(8, kept, 4, args.longest), []
        for base in (GRPOTrainer, Packed):
            trainer, *_ = run(base, args, work, steps=args.repeat + 1, dtype=dtype, sampled=True)
            rollout, update = (statistics.median(part[1:]) for part in (trainer.rollouts_took, trainer.updates_took))
            took.append(rollout + update)
            name = "ours " if base is Packed else "stock"
            say(f"  G = 8, kept {kept:4.0%}, {name}: rollout {rollout:.3f} s, update {update:.3f} s")
            del trainer
            gc.collect()
        say(f"  ratio {took[0] / took[1]:.2f}")


def project(args, dtype: torch.dtype) -> None:
    """A run of 10,000 questions x 2, from steps of 64 completions and of 4 (main.py's default), and what limits it.

    Decoding cannot be faster than reading the weights once a token; the update does 4 operations a weight and token
    at least (2 forward, 2 for the gradient of the activations), and 2 more where it recomputes them (checkpointing).
    """
    say(f"\nA run of {FULL_RUN:,} completions, rollout included, mean length {args.mean_length:g}:")
    for batch, accumulation in ((16, 4), (2, 2)):
        work = Work(2, 1.0, 4, args.longest, batch, accumulation)
        trainer, _, _, tokens = run(Packed, args, work, steps=args.repeat + 1, dtype=dtype, sampled=True)
        rollout, update = (statistics.median(part[1:]) for part in (trainer.rollouts_took, trainer.updates_took))
        hours = (rollout + update) * FULL_RUN / work.rows / 3600
        weights = sum(weight.numel() for weight in trainer.model.parameters())
        operations = 4 + 2 * any(batch.get("checkpointing") for batch in trainer._buffered_inputs)
        say(
            f"  {work.rows} completions an update: {rollout:.3f} s + {update:.3f} s a step, {hours:.2f} h; "
            f"the update's {tokens:,} tokens at {operations * weights * tokens / update / 1e12:.3f} TFLOP/s, "
            f"a decoding step reads {weights * dtype.itemsize / 1e9:.2f} GB"
        )
        peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "not measured"
        say(f"    peak memory {peak}")
        del trainer
        gc.collect()


def measure_all(args: argparse.Namespace) -> int:
    dtype = getattr(torch, args.dtype)
    import transformers.utils.logging as quiet

    quiet.set_verbosity_error()
    with model_to_measure(args):
        for part in args.parts:
            {"sweep": sweep, "memory": memory, "whole": whole, "project": project}[part](args, dtype)
    return 0


main = program(parse_args, measure_all)

if __name__ == "__main__":
    sys.exit(main())
