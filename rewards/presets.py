"""Which rewards a run uses, with which weights, and on which scale the log prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charts.boxes import KIND
from charts.record import ChartQuestion
from common.own_code import FORMS, load
from rewards import functions as make
from rewards.functions import RewardFunction
from rewards.own import FLAG, own_reward

# name: scale of the printed log line
SCALES = {"accuracy": 1.0, "format": 2.0, "length": 2.5, "tags": 2.0, "chart_type": 1.0, "table": 2.25, "process": 1.0,
          "iou": 1.0}  # fmt: skip
# name: weight in GRPO's sum
PRESETS = {
    "accuracy": {"accuracy": 1.0, "format": 0.2},
    "chart-rvr": {
        "format": 0.2, "accuracy": 1.0, "length": 0.05, "tags": 0.05, "chart_type": 0.1, "table": 0.2, "process": 0.1,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One reward that was asked for: its name, its weight, and where it is, for a function of the user's."""

    name: str
    weight: float
    place: str | None = None


@dataclass(frozen=True)
class Reward:
    """`function` returns values in [0, 1]; `weight` is its part in GRPO's sum; `scale` is for printing only."""

    name: str
    function: RewardFunction
    weight: float
    scale: float


def chosen(rewards: str | Sequence[str]) -> list[Part]:
    """The parts of a preset, or of a list of `name[=weight]` and `path/to/file.py:function[=weight]`.

    A weight is 1 where none is given, as TRL's. `iou` stands for accuracy, which is the same number where a box is
    asked for. ValueError, one line, for what cannot be used: functions of the user's are loaded, and not yet called.
    """
    if isinstance(rewards, str):
        if rewards not in PRESETS:
            raise ValueError(f"unknown reward preset {rewards!r}: choose one of {', '.join(PRESETS)}")
        return [Part(name, weight) for name, weight in PRESETS[rewards].items()]
    parts = [_part(text) for text in rewards]
    names = [part.name for part in parts]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{FLAG} {' '.join(rewards)}: two of them are called {twice[0]}")
    if "iou" in names and "accuracy" not in names:
        return [*parts, Part("accuracy", 0.0)]
    if "accuracy" not in names:
        raise ValueError(
            f"{FLAG} {' '.join(rewards)}: accuracy is missing, which decides what is correct; name it too "
            "(accuracy=0 keeps it out of GRPO's sum), or a function of yours that is called accuracy"
        )
    return parts


def _part(text: str) -> Part:
    name, equals, weight = text.rpartition("=")
    if not equals or ":" in weight:  # a path may hold an equals sign
        name, weight = text, "1"
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{FLAG} {text}: the weight behind = must be a finite number")
    if number < 0 and name.rpartition(":")[2] == "accuracy":
        raise ValueError(f"{FLAG} {text}: below 0, wrong answers would be rewarded; accuracy=0 keeps it out of the sum")
    if ":" in name:
        load(FLAG, name)
        return Part(name.rpartition(":")[2], number, name)
    if name not in SCALES:
        raise ValueError(f"{FLAG} {name}: unknown; choose from {', '.join(SCALES)}, or name a function, as {FORMS}")
    return Part(name, number)


def check_golds(rewards: str | Sequence[str], questions: Sequence[ChartQuestion]) -> None:
    """ValueError where `iou` is to be learned from and no question asks for a box."""
    wanted = any(part.name == "iou" and not part.place for part in chosen(rewards))
    if wanted and not any(question.answer_kind == KIND for question in questions):
        raise ValueError(f"{FLAG} iou: no question asks for a box; name accuracy instead, or train on refcoco")


def recorded(rewards: Sequence[str]) -> dict[str, str]:
    """What the settings record holds of --reward: names, weights and the hash of functions, not where they are."""
    parts = (f"{one.name}={one.weight:g}" + (f" (sha256 {load(FLAG, one.place)[1]})" if one.place else "")
             for one in chosen(rewards))  # fmt: skip
    return {"reward_functions": ", ".join(parts)}


def build_rewards(
    rewards: str | Sequence[str],
    questions: Mapping[str, ChartQuestion],
    *,
    rule: str | None = "strict",
    soft_numeric: bool = False,
    max_completion_tokens: int | None = None,
    form: str = "structured",
) -> list[Reward]:
    """The rewards of a preset, or of a list as `chosen` reads it.

    `questions` maps the column `problem_id` to records; `form` is the prompt's name.
    """
    makers = {
        "accuracy": lambda: make.accuracy_reward(questions, rule, soft_numeric, form),
        "format": lambda: make.format_reward(questions, form),
        "chart_type": lambda: make.chart_type_reward(questions),
        "table": lambda: make.table_reward(questions),
        "length": lambda: make.length_reward(questions, max_completion_tokens, form),
        "tags": lambda: make.tags_reward(questions),
        "process": lambda: make.process_reward(questions),
        "iou": lambda: make.iou_reward(questions, form),
    }
    built = []
    for part in chosen(rewards):
        function = own_reward(part.place, questions) if part.place else makers[part.name]()
        built.append(Reward(part.name, function, part.weight, 1.0 if part.place else SCALES[part.name]))
    return built
