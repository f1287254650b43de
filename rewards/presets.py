"""Which rewards a run uses, with which weights, and on which scale the log prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charts.record import ChartQuestion
from rewards import functions as make
from rewards.functions import RewardFunction

# name: (weight in GRPO's sum, scale of the printed log line)
PRESETS = {
    "accuracy": {"accuracy": (1.0, 1.0), "format": (0.2, 2.0)},
    "chart-rvr": {
        "format": (0.2, 2.0),
        "accuracy": (1.0, 1.0),
        "length": (0.05, 2.5),
        "tags": (0.05, 2.0),
        "chart_type": (0.1, 1.0),
        "table": (0.2, 2.25),
        "process": (0.1, 1.0),
    },
}


@dataclass(frozen=True)
class Reward:
    """`function` returns values in [0, 1]; `weight` is its part in GRPO's sum; `scale` is for printing only."""

    name: str
    function: RewardFunction
    weight: float
    scale: float


def build_rewards(
    preset: str,
    questions: Mapping[str, ChartQuestion],
    *,
    rule: str | None = "strict",
    soft_numeric: bool = False,
    max_completion_tokens: int | None = None,
    form: str = "structured",
) -> list[Reward]:
    """The rewards of `preset`. `questions` maps the column `problem_id` to records; `form` is the prompt's name."""
    if preset not in PRESETS:
        raise ValueError(f"unknown reward preset {preset!r}: choose one of {', '.join(PRESETS)}")
    makers = {
        "accuracy": lambda: make.accuracy_reward(questions, rule, soft_numeric),
        "format": lambda: make.format_reward(questions, form),
        "chart_type": lambda: make.chart_type_reward(questions),
        "table": lambda: make.table_reward(questions),
        "length": lambda: make.length_reward(questions, max_completion_tokens),
        "tags": lambda: make.tags_reward(questions),
        "process": lambda: make.process_reward(questions),
    }
    return [Reward(name, makers[name](), weight, scale) for name, (weight, scale) in PRESETS[preset].items()]
