"""Which cards a run fits, and the flag to change where it does not."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from settings.arguments import resolve_accumulation
from update.memory import GIGABYTE, RESERVE, Memory

SIZES = (16, 24, 40, 80, 141)  # GB
LEAST = 0.005  # a change that saves less than this share of the memory is not named


def advice(
    memory_of: Callable[[argparse.Namespace], Memory], args: argparse.Namespace, processes: int
) -> Iterator[str]:
    """One line a card size: whether it fits and, if not, the change that is enough, or all that save most."""
    needed = memory_of(args).needed
    yield (
        "Fits        (the peak of the smallest passes, 5 % for gaps between tensors and "
        f"{RESERVE / GIGABYTE:.0f} GB for CUDA: {needed / GIGABYTE:.1f} GB a device; 1 GB = 10^9 bytes)"
    )
    for size in SIZES:
        answer = "yes" if needed <= size * GIGABYTE else "no: " + remedy(memory_of, args, processes, size * GIGABYTE)
        yield f"  {size:>3} GB    {answer}"


def remedy(memory_of, args: argparse.Namespace, processes: int, room: float) -> str:
    """The first single change that is enough, or the changes that save most, one after the other, until they are."""
    before = memory_of(args).needed
    for name, changed in changes(args, processes):
        needed = memory_of(changed).needed
        if needed <= room:
            return f"{name} saves {_gb(before - needed)} and is enough ({_gb(needed)})"
    parts, needed = [], before
    while needed > room:
        options = [(memory_of(changed).needed, name, changed) for name, changed in changes(args, processes)]
        least, name, args = min(options, key=lambda option: option[0], default=(needed, "", args))
        if needed - least < LEAST * needed:
            break
        parts.append(f"{name} (saves {_gb(needed - least)})")
        needed = least
    together = ", then ".join(parts)
    if needed <= room:
        return f"{together}: together enough ({_gb(needed)})"
    more = "more" if processes > 1 else "several"
    rest = f"not enough: still {_gb(needed)}; ZeRO-3 on {more} GPUs shares the weights out"
    return f"{together}: {rest}" if together else f"no flag is enough; ZeRO-3 on {more} GPUs shares the weights out"


def changes(args: argparse.Namespace, processes: int) -> Iterator[tuple[str, argparse.Namespace]]:
    """(what to type, the changed settings): first what changes nothing but speed, then what changes the training."""

    def other(**settings) -> argparse.Namespace:
        return argparse.Namespace(**{**vars(args), **settings})

    if args.disable_gradient_checkpointing:
        yield "without --disable-gradient-checkpointing", other(disable_gradient_checkpointing=False)
    if args.plain_update:
        yield "without --plain-update", other(plain_update=False)
    if args.rollouts != "engine":
        yield "without --rollouts generate", other(rollouts="engine")
    batch, accumulation = args.batch_size, args.gradient_accumulation_steps
    for smaller in (batch // 2, 1):
        if 0 < smaller < batch and batch % smaller == 0:
            longer = batch // smaller * accumulation
            name = f"--batch-size {smaller} --gradient-accumulation-steps {longer}"
            yield name, other(batch_size=smaller, gradient_accumulation_steps=longer)
    if args.updates_per_rollout > 1 and _whole(other(updates_per_rollout=1), processes):
        yield "--updates-per-rollout 1", other(updates_per_rollout=1)
    fewer = other(gradient_accumulation_steps=accumulation // 2)
    if accumulation > 1 and _whole(fewer, processes):
        yield f"--gradient-accumulation-steps {accumulation // 2} (fewer completions at once)", fewer
    if args.max_pixels // 2 >= args.min_pixels:
        yield f"--max-pixels {args.max_pixels // 2}", other(max_pixels=args.max_pixels // 2)
    if args.max_completion_length > 1:
        shorter = args.max_completion_length // 2
        yield f"--max-completion-length {shorter}", other(max_completion_length=shorter)
    if args.no_lora:
        yield "LoRA instead of --no-lora", other(no_lora=False)


def _whole(args: argparse.Namespace, processes: int) -> bool:
    try:
        return bool(resolve_accumulation(args, processes))
    except ValueError:
        return False


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"
