"""What keeps a method from collapsing at ten times the common rate? One remedy at a time, two seeds.

GRPO does not stand here: its grid of rates ends below. All is measured on the validation split.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evaluation.names import display_name
from study import plan
from study.plan import Size, flags
from study.stages import Run, Stage, Study, perform
from study.summary import read_arm
from study.tables import markdown, points

MODES = ("psr", "nsr", "w-reinforce")
RATE = "1e-3"
SEEDS = (1, 2)
UPDATES = 160  # a collapse shows within a hundred
REMEDIES: dict[str, dict] = {  # name -> the row's name in the table, and what is changed; `only`: of these methods
    "none": {"shown": "as in the study"},
    "on-policy": {"shown": "one update per rollout batch", "per_rollout": 1},
    "ratio-cap": {
        "shown": "`--negative-ratio-cap 1`",
        "more": ("--negative-ratio-cap", "1"),
        "only": ("nsr", "w-reinforce"),
    },
    "kl": {"shown": "KL term 0.001", "more": ("--kl-beta", "0.001")},
    "entropy-bonus": {"shown": "entropy bonus 1e-4", "more": ("--entropy-bonus", "1e-4")},
    "lambda-1": {"shown": "lambda = 1", "more": ("--lambda-psr", "1"), "only": ("w-reinforce",)},
    "a-nsr": {
        "shown": "weight of wrong ones 1.5 to 0.5, a cosine (A-NSR)",
        "more": ("--negative-weight", "cosine"),
        "only": ("w-reinforce",),
    },
}


def stages(size: Size) -> Iterator[tuple[str, str, list[Stage]]]:
    """(Method, remedy, its measurements, one a seed), method after method."""
    for mode in MODES:
        for name, changed in REMEDIES.items():
            if mode in changed.get("only", (mode,)):
                more, per_rollout = changed.get("more", ()), changed.get("per_rollout", 4)
                given = flags(UPDATES, RATE, *more, per_rollout=per_rollout)
                runs = [Run(f"{mode}-{name}-lr{RATE}-{UPDATES}u-s{seed}", mode, seed, given) for seed in SEEDS]
                measured = ("validation", size.validation_problems, size.validation_samples)
                yield mode, name, [Stage(f"validation-{run.name}", run, *measured) for run in runs]


def perform_all(study: Study, size: Size) -> None:
    of_seeds = zip(*(own for *_, own in stages(size)), strict=True)  # the first seed of everything, then the second
    perform(study, [plan.validation_base(size), *(stage for of_seed in of_seeds for stage in of_seed)])


def table(counts: Path, size: Size) -> str | None:
    """Pass@1 on the validation split, accuracy on the held-out charts on the way, and the first warnings, by seed."""
    rows, updates = [], []
    for mode, name, own in stages(size):
        arm = read_arm(counts, display_name(mode), [stage.name for stage in own])
        if arm:
            updates = arm.kept[0]["held_out"]["update"]
            held_out = np.mean([one["held_out"]["accuracy"] for one in arm.kept], axis=0)
            warned = [", ".join(f"{sign} {update}" for sign, update in one["warnings"].items()) for one in arm.kept]
            right = [points(float(value)) for value in arm.per_seed([1]).mean(axis=(1, 2))]
            cells = [" / ".join(right), *map(points, held_out), " / ".join(said or "none" for said in warned)]
            rows.append([arm.label, REMEDIES[name]["shown"], str(arm.seeds), *cells])
    header = ["", "", "seeds", "Pass@1", *(f"held out, {n}" for n in updates), "warned at"]
    return markdown(header, rows) if rows else None
