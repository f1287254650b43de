"""What the study of docs/reproduction.md runs: every model and every measurement, by name.

Methods differ in the mode alone at the common learning rate, and in mode and rate where each has its own. A method's
own rate is chosen from one grid on the validation split, which is widened where the best rate lies at an end.
Everything else is the same for all: prompts (they depend on the seed only), completions, updates.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.stages import Run, Stage, Study, is_kept, perform

METHODS = ("grpo", "psr", "nsr", "w-reinforce")
CONTRAST = ("nsr", "psr")  # compared with each other, beside each with the base
FIRST = ("psr", "nsr", "grpo", "w-reinforce")  # the order in which they are run
COMMON = "1e-4"  # the learning rate of all methods
RATES = ("1e-6", "3e-6", "1e-5", "3e-5", "1e-4", "3e-4", "1e-3", "3e-3")  # what a grid may be widened to
MARKED = ("--dataset-name", "procedures-marked")  # charts that need care, and no others
PAPER_SAMPLING = ("--temperature", "0.6", "--top-p", "0.95")
PAPER_SAMPLES = 64
COMPLETIONS, GENERATIONS, BATCH = 64, 8, 16  # of an update, of a prompt, of a forward pass
EVAL_STEPS = 50  # updates between measurements on the charts held out of training


@dataclass(frozen=True)
class Size:
    """The size of a study; `samples` per problem of the test split, of which `marked` more are marked.

    `scored`: problems of it on which ways are scored (organism.measure), half as many of them marked at least.
    """

    updates: int
    rates: tuple[str, ...]
    seeds: tuple[int, ...]
    problems: int
    marked: int
    samples: int
    scored: int = 120
    validation_problems: int = 200
    validation_samples: int = 32


FULL = Size(updates=300, rates=(COMMON, "3e-5", "3e-4"), seeds=(1, 2, 3), problems=400, marked=100, samples=256)
QUICK = Size(updates=100, rates=(COMMON,), seeds=(1,), problems=100, marked=50, samples=64, scored=40)


def flags(
    updates: int,
    rate: str,
    *more: str,
    completions: int = COMPLETIONS,
    generations: int = GENERATIONS,
    per_rollout: int = 4,
) -> tuple[str, ...]:
    """main.py's flags of a run of `updates` updates in which every question is seen once."""
    batch = min(BATCH, completions)
    return (
        *("--subset-size", str(updates * completions // generations), "--num-generations", str(generations)),
        *("--batch-size", str(batch), "--gradient-accumulation-steps", str(completions // batch)),
        *("--updates-per-rollout", str(per_rollout), "--no-lora", "--learning-rate", rate),
        *("--disable-gradient-checkpointing", "--eval-steps", str(EVAL_STEPS), *more),
    )


def run(mode: str, rate: str, seed: int, size: Size) -> Run:
    return Run(f"{mode}-lr{rate}-{size.updates}u-s{seed}", mode, seed, flags(size.updates, rate))


def validation(mode: str, rate: str, size: Size) -> Stage:
    """First seed, on the validation split."""
    one = run(mode, rate, size.seeds[0], size)
    return Stage(f"validation-{one.name}", one, "validation", size.validation_problems, size.validation_samples)


def validation_base(size: Size) -> Stage:
    return Stage("validation-base", None, "validation", size.validation_problems, size.validation_samples)


def grid(size: Size) -> list[Stage]:
    """Every method at every learning rate, first seed, on the validation split."""
    return [validation(mode, rate, size) for rate in size.rates for mode in FIRST]


def right(study: Study, mode: str, rate: str, size: Size) -> int:
    """Right answers of a method at a rate on the validation split."""
    return sum(json.loads(study.counts_of(validation(mode, rate, size)).read_text(encoding="utf-8"))["c"])


def search(study: Study, mode: str, size: Size) -> tuple[str | None, str | None]:
    """(The best rate of `mode`, None), or (None, the rate to try next): the best has no better one on either side.

    RATES bounds the search; the rate of a grid of one is taken as it is. ValueError for kept counts of other settings.
    """
    tried = sorted(size.rates, key=float)
    if len(tried) == 1:
        return tried[0], None
    while True:
        missing = [rate for rate in tried if not is_kept(study, validation(mode, rate, size))]
        if missing:
            return None, missing[0]
        best = max(tried, key=lambda rate: right(study, mode, rate, size))
        if best == tried[0] and best != RATES[0]:
            tried.insert(0, RATES[RATES.index(best) - 1])
        elif best == tried[-1] and best != RATES[-1]:
            tried.append(RATES[RATES.index(best) + 1])
        else:
            return best, None


def choose_rates(study: Study, size: Size) -> dict[str, str] | None:
    """Method -> the learning rate with the most right answers on the validation split; None before all are tried."""
    best = {mode: rate for mode in METHODS if (rate := search(study, mode, size)[0])}
    return best if len(best) == len(METHODS) else None


def common(size: Size) -> dict[str, str]:
    """Method -> the common learning rate."""
    return dict.fromkeys(METHODS, size.rates[0])


def test(one: Run | None, size: Size, *sampling: str, samples: int | None = None) -> Stage:
    """Of the test split; None: the base."""
    n = samples or size.samples
    name = f"test-{one.name if one else 'base'}-{n}{'-paper' if sampling else ''}"
    return Stage(name, one, "test", size.problems, n, sampling)


def base(size: Size) -> Stage:
    return test(None, size)


def marked(one: Run | None, size: Size) -> Stage:
    """Of the charts that need care alone; None: the base."""
    name = f"marked-{one.name if one else 'base'}-{size.samples}"
    return Stage(name, one, "test", size.marked, size.samples, dataset=MARKED)


def scored(one: Run | None, size: Size) -> Stage:
    """Ways by forced scoring, and the careful one behind a prefix, also on marked charts enough; None: the base."""
    name = f"scored-{one.name if one else 'base'}"
    return Stage(name, one, "test", size.scored, 8, ("--marked", str(size.scored // 2)), scored=True)


def runs(rates: Mapping[str, str], size: Size) -> Iterator[Run]:
    """Every method at its rate, with every seed; methods in the order of FIRST."""
    for seed in size.seeds:
        yield from (run(mode, rates[mode], seed, size) for mode in FIRST)


def finals(rates: Mapping[str, str], size: Size) -> list[Stage]:
    """The base and every method at its learning rate with every seed, on the test split."""
    return [base(size), *(test(one, size) for one in runs(rates, size))]


def on_marked(rates: Mapping[str, str], size: Size) -> list[Stage]:
    """The same on marked charts alone."""
    return [marked(None, size), *(marked(one, size) for one in runs(rates, size))]


def on_scored(rates: Mapping[str, str], size: Size) -> list[Stage]:
    """The ways of the same models by forced scoring."""
    return [scored(None, size), *(scored(one, size) for one in runs(rates, size))]


def paper_sampling(size: Size) -> list[Stage]:
    """The first seed at the common rate sampled as in the paper."""
    first = [run(mode, rate, size.seeds[0], size) for mode, rate in common(size).items()]
    return [test(one, size, *PAPER_SAMPLING, samples=PAPER_SAMPLES) for one in (None, *first)]


def both(rates: Mapping[str, str], size: Size, seeds: tuple[int, ...]) -> list[Stage]:
    """The base and all that is measured of these seeds, run after run."""
    every = zip(finals(rates, size), on_marked(rates, size), on_scored(rates, size), strict=True)
    return [stage for of_run in every for stage in of_run if not stage.run or stage.run.seed in seeds]


def reproduce(study: Study, size: Size) -> dict[str, str]:
    """All stages of the main question, the most telling first; the learning rates chosen."""
    first, others = size.seeds[:1], size.seeds[1:]
    perform(study, both(common(size), size, first))
    if len(size.rates) > 1:
        perform(study, [validation_base(size), *grid(size)])
    while not (rates := choose_rates(study, size)):
        wider = {mode: search(study, mode, size)[1] for mode in FIRST}
        perform(study, [validation(mode, rate, size) for mode, rate in wider.items() if rate])
    perform(study, both(rates, size, first))
    for seed in others:
        for chosen in (common(size), rates):
            perform(study, both(chosen, size, (seed,)))
    if size is FULL:
        perform(study, paper_sampling(size))
    return rates
