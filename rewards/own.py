"""The user's own rewards: functions with TRL's signature, given what the questions say beside TRL's columns."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from PIL import Image

from charts.record import ChartQuestion
from common.own_code import load, told
from rewards.functions import RewardFunction

FLAG = "--reward"
# The columns that a question gives; its image is a column of TRL's, `image`.
COLUMNS = tuple(one.name for one in fields(ChartQuestion) if one.name not in ("id", "open_image"))


def own_reward(place: str, questions: Mapping[str, ChartQuestion]) -> RewardFunction:
    """The function at `place` as a reward of that name; an async one is waited for.

    It is called as TRL calls it, with one list a column, and with `COLUMNS` of the questions. It raises what the
    function raises, and NoRewards.
    """
    function, _ = load(FLAG, place)

    def reward(prompts, completions, completion_ids=None, *, problem_id, **columns) -> list[float | None]:
        asked = [questions[one] for one in problem_id]
        known = {name: [getattr(question, name) for question in asked] for name in COLUMNS}
        said = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
        returned = function(**{**known, "problem_id": problem_id, **columns, **said})
        if inspect.isawaitable(returned):
            returned = asyncio.run(_result(returned))
        return _rewards(returned, len(completions))

    reward.__name__ = place.rpartition(":")[2]
    return reward


async def _result(awaitable: Any) -> Any:
    return await awaitable


class NoRewards(ValueError):
    """What a function returned is no reward for each completion; continues "it"."""


def _rewards(returned: Any, count: int) -> list[float | None]:
    """What a function returned, as numbers and None; NoRewards for anything else."""
    wanted = f"must return a list of {count} finite numbers or None, one a completion"
    if isinstance(returned, (str, bytes, dict)) or not isinstance(returned, Iterable):
        raise NoRewards(f"{wanted}; it returned {type(returned).__name__}")
    values = list(returned)
    try:
        rewards = [None if one is None else float(one) for one in values]
    except (TypeError, ValueError) as error:
        raise NoRewards(f"{wanted}; {error}") from None
    if len(rewards) != count:
        raise NoRewards(f"{wanted}; it returned {len(rewards)} of them")
    wrong = [one for one in rewards if one is not None and not math.isfinite(one)]
    if wrong:
        raise NoRewards(f"{wanted}; it returned {wrong[0]}")
    return rewards


def try_own(place: str, questions: Sequence[ChartQuestion]) -> None:
    """Calls the function once, with a right completion and an empty one for each question; ValueError, one line."""
    from transformers import TrainerState  # not before a run has set the environment that it reads

    asked = [question for question in questions for _ in range(2)]
    texts = [text for question in questions for text in (f"<answer>{' '.join(question.answers[:1])}</answer>", "")]
    columns: dict[str, Any] = {
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "completion_ids": [list(range(1 + len(text.split()))) for text in texts],
        "problem_id": [question.id for question in asked],
        "trainer_state": TrainerState(max_steps=10),
        "log_extra": lambda column, values: None,
        "log_metric": lambda name, value: None,
    }
    said: list[list[dict]] = [[{"type": "text", "text": question.question}] for question in asked]
    if all(question.open_image for question in questions):
        columns["image"] = [_image(question) for question in asked]
        for parts, image in zip(said, columns["image"], strict=True):
            parts.insert(0, {"type": "image", "image": image})
    columns["prompts"] = [[{"role": "user", "content": parts}] for parts in said]
    try:
        own_reward(place, {question.id: question for question in questions})(**columns)
    except NoRewards as error:
        raise ValueError(f"{FLAG} {place} {error}") from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{FLAG} {place} raised {told(error)}") from error


def _image(question: ChartQuestion) -> Image.Image:
    """The chart; a white one where it cannot be read, as in training."""
    try:
        return question.open_image() if question.open_image else Image.new("RGB", (56, 56), "white")
    except ValueError:
        return Image.new("RGB", (56, 56), "white")
