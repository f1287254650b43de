"""Synthetic bar charts: drawn from a seed, with questions, gold answers and gold tables, any number of them.

A chart shows 3 to 6 bars of different colors on an axis from 0 to 50; its values are different even numbers, so that a
bar is at least four pixels shorter or taller than any other. Every split owns a part of the space of charts: a chart's
colors and values are hashed, and the hash says to which split it belongs. No chart of one split can therefore occur
in another, whatever the seeds. Consecutive questions share a chart, two by two.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from charts.record import ChartQuestion

if TYPE_CHECKING:
    from PIL import Image

COLORS = {
    "red": (220, 30, 30),
    "blue": (30, 80, 225),
    "green": (30, 150, 50),
    "orange": (255, 150, 0),
    "purple": (130, 40, 170),
    "pink": (255, 140, 195),
    "black": (25, 25, 25),
    "gray": (145, 145, 145),
}
VALUES = range(10, 50, 2)
AXIS_TOP = 50
# Share of the space of charts that a split owns, in percent. "warm-start" feeds models/build_tiny.py and nothing else.
SPLITS = {"train": range(0, 50), "validation": range(50, 60), "test": range(60, 70), "warm-start": range(70, 100)}
# How often a kind of question is asked, and what kind of answer it has.
KINDS = {"value": 4, "tallest": 3, "shortest": 3, "count": 1, "sum": 5, "difference": 3, "yes/no": 1}
ANSWER_KINDS = {"tallest": "list", "shortest": "list", "count": "count", "yes/no": "yes/no"}
QUESTIONS_PER_CHART = 2


@dataclass(frozen=True)
class BarChart:
    """What a chart shows and how: enough to draw it, byte for byte."""

    colors: tuple[str, ...]
    values: tuple[int, ...]
    gridlines: bool
    framed: bool
    bar_share: float  # of the room that a bar has

    @property
    def table(self) -> dict:
        rows = [[color, str(value)] for color, value in zip(self.colors, self.values, strict=True)]
        return {"columns": ["color", "value"], "rows": rows}

    @property
    def part(self) -> int:
        """The hundredth of the space of charts in which this one lies: colors and values alone decide."""
        return int(hashlib.sha256(repr((self.colors, self.values)).encode()).hexdigest(), 16) % 100

    @property
    def image_id(self) -> str:
        """The picture is a function of these fields, and no two pictures are alike when they differ."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def draw(chart: BarChart) -> Image.Image:
    """The chart as a fresh 112 x 112 RGB image, two pixels to a unit of the axis."""
    from PIL import Image, ImageDraw, ImageFont

    left, right, top, bottom = 17, 110, 6, 106
    ink, faint = (60, 60, 60), (215, 215, 215)
    image = Image.new("RGB", (112, 112), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default_imagefont()  # a bitmap: the same pixels on every platform
    for tick in range(0, AXIS_TOP + 1, 10):
        y = bottom - 2 * tick
        if chart.gridlines:
            canvas.line([(left, y), (right, y)], fill=faint)
        canvas.line([(left - 2, y), (left, y)], fill=ink)
        canvas.text((left - 3 - 6 * len(str(tick)), y - 6), str(tick), fill=ink, font=font)
    room = (right - left) / len(chart.values)
    for place, (color, value) in enumerate(zip(chart.colors, chart.values, strict=True)):
        middle, half = left + room * (place + 0.5), room * chart.bar_share / 2
        canvas.rectangle([round(middle - half), bottom - 2 * value, round(middle + half), bottom], fill=COLORS[color])
    canvas.line([(left, top), (left, bottom), (right, bottom)], fill=ink)
    if chart.framed:
        canvas.line([(left, top), (right, top), (right, bottom)], fill=ink)
    return image


def random_chart(split: str, rng: random.Random) -> BarChart:
    """A chart of the part of the space that `split` owns."""
    while True:
        count = rng.randint(3, 6)
        chart = BarChart(
            colors=tuple(rng.sample(list(COLORS), count)),
            values=tuple(rng.sample(VALUES, count)),
            gridlines=rng.random() < 0.5,
            framed=rng.random() < 0.5,
            bar_share=rng.choice((0.6, 0.7, 0.8)),
        )
        if chart.part in SPLITS[split]:
            return chart


def listed(words: list[str] | tuple[str, ...]) -> str:
    """red, blue and green"""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def ask(kind: str, chart: BarChart, rng: random.Random) -> tuple[str, str, list[str]]:
    """One question of this kind about the chart, its answer, and reasoning steps that lead to it.

    Steps copy the cells of the table that the answer needs and end in the answer: a very small model can follow that.
    """
    value = dict(zip(chart.colors, chart.values, strict=True))
    if kind == "value":
        color = rng.choice(chart.colors)
        return f"What is the value of {color}?", str(value[color]), [f"{color} {value[color]}"]
    if kind in ("tallest", "shortest"):
        first, second = sorted(value, key=value.get, reverse=kind == "tallest")[:2]
        steps = [f"{first} {value[first]}", f"{second} {value[second]}"]
        return f"Which two bars are {kind}?", f"{first}, {second}", steps
    if kind == "count":
        answer = rng.randint(1, len(value) - 1)  # every answer is as likely as the others
        limit = sorted(value.values())[-answer] - 1
        above = [f"{color} {height}" for color, height in value.items() if height > limit]
        return f"How many bars are above {limit}?", str(answer), [", ".join(above), f"count {answer}"]
    if kind == "sum":
        colors = rng.sample(chart.colors, rng.randint(2, min(4, len(value))))
        terms, total = [value[color] for color in colors], sum(value[color] for color in colors)
        steps = [", ".join(f"{color} {value[color]}" for color in colors), f"{' + '.join(map(str, terms))} = {total}"]
        return f"What is the sum of {listed(colors)}?", str(total), steps
    first, second = rng.sample(chart.colors, 2)
    cells = f"{first} {value[first]}, {second} {value[second]}"
    if kind == "difference":
        high, low = max(value[first], value[second]), min(value[first], value[second])
        question = f"What is the difference between {first} and {second}?"
        return question, str(high - low), [cells, f"{high} - {low} = {high - low}"]
    assert kind == "yes/no", kind
    taller = value[first] > value[second]
    return f"Is {first} taller than {second}?", "yes" if taller else "no", [cells]


def completion_of(chart: BarChart, answer: str, steps: list[str]) -> str:
    """A right completion in the project's format: type, table and steps inside the reasoning, then the answer."""
    numbered = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    return (
        f"<think>\n<type>bar</type>\n<table>{json.dumps(chart.table)}</table>\n{numbered}\n</think>\n"
        f"<answer>{answer}</answer>"
    )


def worked_examples(split: str, seed: int, start: int = 0) -> Iterator[tuple[ChartQuestion, str]]:
    """Questions of `split` without end, from the one numbered `start`, each with a right completion."""
    index = start
    while True:
        place, turn = divmod(index, QUESTIONS_PER_CHART)
        rng = random.Random(f"synthetic/{split}/{seed}/{place}")
        chart = random_chart(split, rng)
        kinds: list[str] = []
        while len(kinds) < QUESTIONS_PER_CHART:  # different kinds, so no question is asked twice
            kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
            kinds += [kind] * (kind not in kinds)
        for kind in kinds[turn:]:
            question, answer, steps = ask(kind, chart, random.Random(f"{split}/{seed}/{place}/{kind}"))
            record = ChartQuestion(
                id=f"synthetic-{split}-{seed}-{index:06d}",
                question=question,
                answers=(answer,),
                open_image=partial(draw, chart),
                image_id=chart.image_id,
                kind=kind,
                answer_kind=ANSWER_KINDS.get(kind, "number"),
                rule="strict",
                tolerance=0.0,
                chart_type="bar",
                table=chart.table,
                source="synthetic",
                split=split,
            )
            yield record, completion_of(chart, answer, steps)
            index += 1


def synthetic_questions(split: str, size: int, seed: int = 2025) -> list[ChartQuestion]:
    """The first `size` questions of a split; a larger size begins with the same questions."""
    if split not in SPLITS:
        raise ValueError(f"synthetic charts have no split {split!r}: choose {', '.join(SPLITS)}")
    if size < 1:
        raise ValueError(f"the number of synthetic questions must be at least 1, not {size}")
    stream = worked_examples(split, seed)
    return [next(stream)[0] for _ in range(size)]
