"""What the study of docs/reproduction.md runs: every model and every measurement, by name.

Methods differ in their learning rate alone. It is chosen for each from one grid on the validation split; the test split
is sampled afterwards. Everything else is the same for all: prompts (they depend on the seed only), completions, updates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from runs.stages import Run, Stage, Study, perform

METHODS = ("grpo", "psr", "nsr", "w-reinforce")
LAMBDAS = ("0", "0.05", "0.1", "0.15", "0.2", "0.5", "1")
PAPER_SAMPLING = ("--temperature", "0.6", "--top-p", "0.95")
COMPLETIONS, GENERATIONS, BATCH = 64, 8, 16  # of an update, of a prompt, of a forward pass


@dataclass(frozen=True)
class Size:
    """How much of everything; `samples` per problem of the test split."""

    updates: int
    rates: tuple[str, ...]
    seeds: tuple[int, ...]
    problems: int
    samples: int
    validation_problems: int = 200
    validation_samples: int = 32


FULL = Size(updates=300, rates=("3e-5", "1e-4", "1e-5"), seeds=(1, 2, 3), problems=400, samples=256)
QUICK = Size(updates=60, rates=("1e-4",), seeds=(1,), problems=100, samples=64)


def flags(updates: int, rate: str, *more: str, completions: int = COMPLETIONS, generations: int = GENERATIONS) -> tuple:
    """main.py's flags of a run of `updates` updates; the questions are seen once. `more` overrides nothing given here."""
    batch = min(BATCH, completions)
    per_rollout = () if "--updates-per-rollout" in more else ("--updates-per-rollout", "4")
    return (
        *("--subset-size", str(updates * completions // generations), "--num-generations", str(generations)),
        *("--batch-size", str(batch), "--gradient-accumulation-steps", str(completions // batch), *per_rollout),
        *("--no-lora", "--learning-rate", rate, "--disable-gradient-checkpointing", *more),
    )


def run(mode: str, rate: str, seed: int, size: Size) -> Run:
    return Run(f"{mode}-lr{rate}-{size.updates}u-s{seed}", mode, seed, flags(size.updates, rate))


def grid(size: Size) -> list[Stage]:
    """Every method at every learning rate, first seed, on the validation split."""
    runs = [run(mode, rate, size.seeds[0], size) for rate in size.rates for mode in METHODS]
    return [Stage(f"validation-{one.name}", one, "validation", *_validation(size)) for one in runs]


def _validation(size: Size) -> tuple[int, int]:
    return size.validation_problems, size.validation_samples


def choose_rates(study: Study, size: Size) -> dict[str, str]:
    """Method -> the learning rate with the highest Pass@1 on the validation split."""
    if len(size.rates) == 1:
        return dict.fromkeys(METHODS, size.rates[0])
    chosen = {}
    for mode in METHODS:
        stages = [Stage(f"validation-{(r := run(mode, rate, size.seeds[0], size)).name}", r, "validation", *_validation(size))
                  for rate in size.rates]  # fmt: skip
        right = [sum(json.loads(study.counts_of(stage).read_text(encoding="utf-8"))["c"]) for stage in stages]
        chosen[mode] = size.rates[right.index(max(right))]
    return chosen


def base(size: Size, *sampling: str, samples: int | None = None) -> Stage:
    n = samples or size.samples
    return Stage(f"test-base-{n}{'-paper' if sampling else ''}", None, "test", size.problems, n, tuple(sampling))


def test(one: Run, size: Size, *sampling: str, samples: int | None = None) -> Stage:
    n = samples or size.samples
    name = f"test-{one.name}-{n}{'-paper' if sampling else ''}"
    return Stage(name, one, "test", size.problems, n, tuple(sampling))


def finals(rates: dict[str, str], size: Size) -> list[Stage]:
    """The base and every method at its own learning rate with every seed, on the test split."""
    return [base(size)] + [test(run(mode, rates[mode], seed, size), size) for seed in size.seeds for mode in METHODS]


def paper_sampling(rates: dict[str, str], size: Size) -> list[Stage]:
    """The first seed sampled as in the paper, 64 a problem."""
    runs = [run(mode, rates[mode], size.seeds[0], size) for mode in METHODS]
    return [base(size, *PAPER_SAMPLING, samples=64)] + [test(one, size, *PAPER_SAMPLING, samples=64) for one in runs]


def reproduce(study: Study, size: Size) -> dict[str, str]:
    """All stages of the main question; the learning rates chosen."""
    if len(size.rates) > 1:
        perform(study, grid(size))
    rates = choose_rates(study, size)
    perform(study, finals(rates, size))
    if size is FULL:
        perform(study, paper_sampling(rates, size))
    return rates
