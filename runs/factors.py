"""One factor at a time, for PSR and NSR: what makes the methods differ? And ten times the updates.

Every run has the first seed, the learning rate chosen for its method and the updates of the main study; it is measured
on the same test problems with 64 samples each.
"""

from __future__ import annotations

from runs import plan
from runs.plan import Size, flags
from runs.stages import Run, Stage, Study, perform

SAMPLES = 64
CONTRASTED = ("psr", "nsr")
LASTING = ("psr", "nsr", "w-reinforce")  # trained for ten times the updates
SGD_RATES = ("0.3", "1", "3")  # an update of Adam at 3e-5 is as long as one of plain descent at about 1
FACTORS: dict[str, dict] = {
    "as-in-the-study": {},
    "on-policy": {"per_rollout": 1},
    "unclipped": {"more": ("--clip", "1e6")},
    "kept-normaliser": {"more": ("--normaliser", "kept")},
    "sequence-averaging": {"more": ("--averaging", "sequence")},
    "2-generations": {"generations": 2},
    "4-generations": {"generations": 4},
    "16-generations": {"generations": 16},
    "16-completions": {"completions": 16},
    "256-completions": {"completions": 256},
}


def run(factor: str, mode: str, rate: str, size: Size) -> Run:
    """The run of `mode` with this factor changed; the study's own run for none."""
    if not FACTORS[factor]:
        return plan.run(mode, rate, size.seeds[0], size)
    options = dict(FACTORS[factor])
    more = options.pop("more", ())
    return Run(f"{mode}-{factor}", mode, size.seeds[0], flags(size.updates, rate, *more, **options))


def sgd(mode: str, rate: str, size: Size) -> Run:
    return Run(f"{mode}-sgd-lr{rate}", mode, size.seeds[0], flags(size.updates, rate, "--optimiser", "sgd"))


def long(mode: str, rate: str, size: Size) -> Run:
    return Run(f"{mode}-{10 * size.updates}u", mode, size.seeds[0], flags(10 * size.updates, rate))


def test(one: Run, size: Size) -> Stage:
    return plan.test(one, size, samples=SAMPLES)


def of_factor(factor: str, mode: str, rates: dict[str, str], size: Size) -> Stage:
    """The measurement of `mode` with this factor changed; with none, the study's own of the first seed."""
    one = run(factor, mode, rates[mode], size)
    return test(one, size) if FACTORS[factor] else plan.test(one, size)


def stages(rates: dict[str, str], size: Size) -> list[Stage]:
    """The base, and both methods with every factor changed."""
    return [plan.base(size), *(of_factor(factor, mode, rates, size) for factor in FACTORS for mode in CONTRASTED)]


def sgd_grid(size: Size) -> list[Stage]:
    runs = [sgd(mode, rate, size) for rate in SGD_RATES for mode in CONTRASTED]
    return [plan.validation_of(one, size) for one in runs]


def sgd_stages(study: Study, size: Size) -> dict[str, Stage]:
    """Both methods with plain gradient descent, each at the rate that its validation split chose."""
    chosen = {
        mode: max(SGD_RATES, key=lambda rate: plan.right(study, plan.validation_of(sgd(mode, rate, size), size)))
        for mode in CONTRASTED
    }
    return {mode: test(sgd(mode, rate, size), size) for mode, rate in chosen.items()}


def long_stages(rates: dict[str, str], size: Size) -> dict[str, Stage]:
    return {mode: test(long(mode, rates[mode], size), size) for mode in LASTING}


def perform_all(study: Study, size: Size) -> None:
    perform(study, plan.grid(size))
    rates = plan.choose_rates(study, size)
    perform(study, stages(rates, size))
    perform(study, sgd_grid(size))
    perform(study, sgd_stages(study, size).values())
    perform(study, long_stages(rates, size).values())
