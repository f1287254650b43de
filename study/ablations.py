"""What makes the methods differ? One factor changed at a time, PSR and NSR at one learning rate; and longer runs.

At its own best rate a method also has its own step size, so the factors are changed for both methods at RATE, the
study's common rate, for as many updates as in the main study. All are measured on the same test problems, with 64
samples each or the study's own 256. The first rows show the effect of the rate itself; a factor is run with the first
seed unless it names others.
"""

from dataclasses import replace

from study import plan
from study.plan import Size, flags
from study.stages import Run, Stage, Study, perform

SAMPLES = 64
CONTRASTED = ("psr", "nsr")
RATE = plan.COMMON
LONGER, LONG_SEEDS = 4, 2  # times the updates, of every method; seeds, the first ones
# A longer run ends when a sign of collapse has been over its bound for 100 rollout batches more.
STOP = ("--stop-on-collapse", "--warn-window", "100")
FACTORS: dict[str, dict] = {  # name -> the row's name in the table, and what is changed
    "own-rates": {"shown": "each at its own rate", "rate": None, "seeds": (1, 2, 3)},  # the one chosen for the method
    "rate-3e-5": {"shown": "both at 3e-5", "rate": "3e-5"},
    "rate-1e-4": {"shown": "both at 1e-4", "seeds": (1, 2, 3)},
    "rate-3e-4": {"shown": "both at 3e-4", "rate": "3e-4"},
    "seed-1": {"shown": "both at 1e-4, first seed"},  # how much single seeds differ
    "seed-2": {"shown": "both at 1e-4, second seed", "seeds": (2,)},
    "seed-3": {"shown": "both at 1e-4, third seed", "seeds": (3,)},
    "on-policy": {"shown": "one update per rollout batch", "per_rollout": 1},
    "unclipped": {"shown": "four updates, no clip", "more": ("--clip", "1e6")},
    "kept-normaliser": {"shown": "averaged over kept rows only", "more": ("--normaliser", "kept")},
    "sequence-averaging": {"shown": "averaged per sequence", "more": ("--averaging", "sequence")},
    "2-generations": {"shown": "G = 2", "generations": 2},
    "4-generations": {"shown": "G = 4", "generations": 4},
    "16-generations": {"shown": "G = 16", "generations": 16},
    "16-completions": {"shown": "16 completions an update", "completions": 16},
    "sgd-on-policy": {
        "shown": "plain gradient descent at 0.1, one update per rollout batch",
        "rate": "0.1", "per_rollout": 1, "more": ("--optimiser", "sgd"), "seeds": (1, 2, 3),
    },
}  # fmt: skip


def runs(factor: str, mode: str, rates: dict[str, str], size: Size) -> list[Run]:
    """Runs of `mode` with this factor changed, one a seed of `size`; the study's own where only the rate differs."""
    options = {"rate": RATE, "seeds": (1,), **FACTORS[factor]}
    del options["shown"]
    rate = options.pop("rate") or rates[mode]
    seeds = [seed for seed in options.pop("seeds") if seed in size.seeds]
    if not options:
        return [plan.run(mode, rate, seed, size) for seed in seeds]
    changed = flags(size.updates, rate, *options.pop("more", ()), **options)
    names = {seed: f"{factor}-seed-{seed}" if seed > 1 else factor for seed in seeds}
    return [Run(f"{mode}-{name}-lr{rate}-{size.updates}u", mode, seed, changed) for seed, name in names.items()]


def long(mode: str, size: Size) -> list[Run]:
    """The longer runs of `mode`, one a seed."""
    longer = replace(size, updates=LONGER * size.updates)
    runs = [plan.run(mode, RATE, seed, longer) for seed in size.seeds[:LONG_SEEDS]]
    return [replace(one, flags=(*one.flags, *STOP)) for one in runs]


def _every_long(size: Size) -> list[Run]:
    """Seed after seed."""
    return [run for runs in zip(*(long(mode, size) for mode in plan.FIRST), strict=True) for run in runs]


def of_factor(factor: str, mode: str, rates: dict[str, str], size: Size) -> list[Stage]:
    """The measurements of `mode` with this factor changed, one a seed; the study's own where that is the same run."""
    measured = {plan.common(size)[mode], rates[mode]}
    own = [plan.run(mode, rate, seed, size) for rate in measured for seed in size.seeds]
    return [
        plan.test(one, size) if one in own else plan.test(one, size, samples=SAMPLES)
        for one in runs(factor, mode, rates, size)
    ]


def stages(rates: dict[str, str], size: Size) -> list[Stage]:
    """The base, and both methods with every factor changed, each once."""
    every = [stage for factor in FACTORS for mode in CONTRASTED for stage in of_factor(factor, mode, rates, size)]
    return list(dict.fromkeys([plan.base(size), *every]))


def long_stages(size: Size) -> list[Stage]:
    """The base and the longer runs of every method on the test split, the base with the study's own samples."""
    return [plan.base(size), *(plan.test(run, size, samples=SAMPLES) for run in _every_long(size))]


def long_marked(size: Size) -> list[Stage]:
    """The same on marked charts alone."""
    return [plan.marked(None, size), *(plan.marked(run, size) for run in _every_long(size))]


def perform_all(study: Study, size: Size) -> None:
    """ValueError before the learning rates are chosen."""
    rates = plan.choose_rates(study, size)
    if not rates:
        raise ValueError(
            f"--counts {study.counts}: the learning rates are not chosen there; ./runs/reproduce_tiny.sh chooses them"
        )
    perform(study, [*stages(rates, size), *long_stages(size), *long_marked(size)])
