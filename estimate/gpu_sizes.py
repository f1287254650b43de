"""Which sizes of GPU memory a run fits, and the flags to change where it does not."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from common.launcher import shares_weights
from settings.arguments import resolve_accumulation
from update.memory import GIGABYTE, RESERVE, Memory

SIZES = (16, 24, 40, 80, 141)  # GB
LEAST = 0.005  # a change that saves less than this share of the memory is not named


def advice(
    memory_of: Callable[[argparse.Namespace], Memory], args: argparse.Namespace, processes: int
) -> Iterator[str]:
    """One line a size: whether it fits and, if not, the changes that make it fit, or all that save anything."""
    needed = memory_of(args).needed
    yield (
        "Fits        (the peak of the smallest passes, 5 % for gaps between tensors and "
        f"{RESERVE / GIGABYTE:.0f} GB for CUDA: {needed / GIGABYTE:.1f} GB a device; 1 GB = 10^9 bytes)"
    )
    for size in SIZES:
        answer = "yes" if needed <= size * GIGABYTE else "no: " + remedy(memory_of, args, processes, size * GIGABYTE)
        yield f"  {size:>3} GB    {answer}"


def remedy(memory_of, args: argparse.Namespace, processes: int, room: float) -> str:
    """Changes one by one: the first that is enough, else the one that saves most, until none saves anything."""
    parts: list[str] = []
    needed = memory_of(args).needed
    while needed > room:
        options = [(memory_of(changed).needed, name, changed) for name, changed in changes(args, processes)]
        enough = [option for option in options if option[0] <= room]
        best = enough[0] if enough else min(options, key=lambda option: option[0], default=(needed, "", args))
        if needed - best[0] < LEAST * needed:
            more = "more" if processes > 1 else "several"
            parts = [", then ".join(parts) or "no flag saves anything", f"not enough: still {_gb(needed)}"]
            return ": ".join(parts) + f"; ZeRO-3 on {more} GPUs shares the weights out"
        parts.append(f"{best[1]} (saves {_gb(needed - best[0])})")
        needed, _, args = best
    return f"{', then '.join(parts)}: enough ({_gb(needed)})"


def changes(args: argparse.Namespace, processes: int) -> Iterator[tuple[str, argparse.Namespace]]:
    """(what to type, the changed settings): first what changes nothing but speed, then what changes the training."""
    batch, steps = args.batch_size, args.gradient_accumulation_steps
    pixels, tokens = max(args.min_pixels, args.max_pixels // 2), max(1, args.max_completion_length // 2)
    options: list[tuple[str, dict]] = [
        ("without --disable-gradient-checkpointing", {"disable_gradient_checkpointing": False}),
        ("without --plain-update", {"plain_update": False}),
        ("without --rollouts generate", {"rollouts": "engine"} if args.rollouts == "generate" else {}),
        *(
            ("", {"batch_size": size, "gradient_accumulation_steps": batch // size * steps})
            for size in (batch // 2, 1)
            if size and batch % size == 0
        ),
        ("", {"updates_per_rollout": 1}),
        ("", {"gradient_accumulation_steps": max(1, steps // 2)}),  # fewer completions at once
        ("", {"eval_samples": max(1, args.eval_samples // 2)}),
        ("", {"max_pixels": pixels}),
        ("", {"max_completion_length": tokens}),
        ("LoRA instead of --no-lora", {"no_lora": False}),
        ("--base-4bit", {"base_4bit": True}),
    ]
    for name, settings in options:
        if settings.get("base_4bit") and (args.no_lora or shares_weights()):
            continue
        changed = argparse.Namespace(**{**vars(args), **settings})
        if changed != args and _whole(changed, processes):
            flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
            yield name or flags, changed


def _whole(args: argparse.Namespace, processes: int) -> bool:
    """Whether an update still holds all completions of each of its prompts."""
    try:
        return bool(resolve_accumulation(args, processes))
    except ValueError:
        return False


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"
