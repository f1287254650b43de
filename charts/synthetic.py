"""Synthetic bar charts: drawn from a seed, with questions, gold answers and gold tables, any number of them.

A chart shows 3 to 6 bars of different colors, labelled A, B, C, ... from the left, on an axis from 0 to 50; its values
are different even numbers, so that a bar is at least three pixels shorter or taller than any other. Every split owns a
part of the space of charts: a chart's values are hashed, and the hash says to which split it belongs. No chart of one
split can therefore occur in another, not even in other colors, whatever the seeds. Consecutive questions share a chart,
two by two.
"""

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from charts.record import ChartQuestion

COLORS = {
    "red": (220, 30, 30), "blue": (30, 80, 225), "green": (30, 150, 50), "orange": (255, 150, 0),
    "purple": (130, 40, 170), "pink": (255, 140, 195), "black": (25, 25, 25), "gray": (145, 145, 145),
}  # fmt: skip
LABELS = "ABCDEF"
VALUES = range(10, 50, 2)
AXIS_TOP = 50
LEFT, RIGHT, BOTTOM = 17, 110, 98  # pixels: the axes
# Share of the space of charts that a split owns, in percent. "warm-start" is for building the embedded models alone.
SPLITS = {"train": range(0, 50), "validation": range(50, 60), "test": range(60, 70), "warm-start": range(70, 100)}
# How often a kind of question is asked, and what kind of answer it has. The warm start of the embedded model practises
# all kinds about evenly, and sums of two to four bars; the other splits ask more of what it can do (values) and of what
# it can hardly do (sums of four and more), so that there is room to learn and diversity to lose.
KINDS = {"value": 6, "tallest": 1, "shortest": 1, "count": 1, "sum": 6, "difference": 2, "yes/no": 2}
WARM_START_KINDS = {"value": 3, "tallest": 2, "shortest": 2, "count": 1, "sum": 6, "difference": 4, "yes/no": 1}
SUM_TERMS, WARM_START_SUM_TERMS = (4, 6), (2, 4)
ANSWER_KINDS = {"tallest": "list", "shortest": "list", "count": "count", "yes/no": "yes/no"}
QUESTIONS_PER_CHART = 2
SEED = 2025  # of the questions of a split


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


class DrawnChart(ABC):
    """A dataclass of what a picture shows and how: enough to draw it, byte for byte."""

    chart_type: str

    @property
    @abstractmethod
    def table(self) -> dict: ...

    @property
    def image_id(self) -> str:
        """The picture is a function of the fields, and no two pictures are alike when they differ."""
        return digest(self)[:16]


@dataclass(frozen=True)
class BarChart(DrawnChart):
    """Bars of different colors, from left to right."""

    colors: tuple[str, ...]
    values: tuple[int, ...]
    gridlines: bool
    framed: bool
    bar_share: float  # of the room that a bar has

    chart_type = "bar"

    @property
    def table(self) -> dict:
        return {"columns": ["bar", "value"], "rows": [[label, str(value)] for label, value in self.labelled.items()]}

    @property
    def labelled(self) -> dict[str, int]:
        """Label -> value, from left to right."""
        return dict(zip(LABELS, self.values, strict=False))

    @property
    def part(self) -> int:
        """The hundredth of the space of charts in which this one lies: the values alone decide."""
        return int(digest(self.values), 16) % 100


def bars(chart: BarChart) -> dict[str, tuple[int, int, int, int]]:
    """Label -> the bar's left, top, right and bottom edge in pixels, as far as it is seen above the axis."""
    room, found = (RIGHT - LEFT) / len(chart.values), {}
    for place, (label, value) in enumerate(chart.labelled.items()):
        middle, half = LEFT + room * (place + 0.5), room * chart.bar_share / 2
        found[label] = (round(middle - half), BOTTOM - round(1.8 * value), round(middle + half) + 1, BOTTOM)
    return found


def draw(chart: BarChart) -> Image.Image:
    """The chart as a fresh 112 x 112 RGB image, 1.8 pixels to a unit of the axis."""
    left, right, top, bottom = LEFT, RIGHT, 8, BOTTOM
    ink, faint = (60, 60, 60), (215, 215, 215)
    image = Image.new("RGB", (112, 112), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default_imagefont()  # a bitmap: the same pixels on every platform
    for tick in range(0, AXIS_TOP + 1, 10):
        y = bottom - round(1.8 * tick)
        if chart.gridlines:
            canvas.line([(left, y), (right, y)], fill=faint)
        canvas.line([(left - 2, y), (left, y)], fill=ink)
        canvas.text((left - 3 - 6 * len(str(tick)), y - 6), str(tick), fill=ink, font=font)
    room = (right - left) / len(chart.values)
    for place, ((label, box), color) in enumerate(zip(bars(chart).items(), chart.colors, strict=True)):
        canvas.rectangle([box[0], box[1], box[2] - 1, bottom], fill=COLORS[color])
        canvas.text((round(left + room * (place + 0.5)) - 2, bottom + 1), label, fill=ink, font=font)
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


def ask(
    kind: str, chart: BarChart, rng: random.Random, sum_terms: tuple[int, int] = SUM_TERMS
) -> tuple[str, str, list[str]]:
    """One question of this kind about the chart, its answer, and reasoning steps that lead to it.

    A sum has `sum_terms` (fewest, most) terms, or as many as there are bars.

    Steps copy the cells of the table that the answer needs and end in the answer: a very small model can follow that.
    """
    value = chart.labelled
    labels = list(value)
    if kind == "value":
        label = rng.choice(labels)
        return f"What is the value of {label}?", str(value[label]), [cells(chart, [label])]
    if kind in ("tallest", "shortest"):
        pair = sorted(value, key=value.__getitem__, reverse=kind == "tallest")[:2]
        return f"Which two bars are {kind}?", ", ".join(pair), [cells(chart, pair)]
    if kind == "count":
        answer = rng.randint(1, len(value) - 1)  # every answer is as likely as the others
        limit = sorted(value.values())[-answer] - 1
        above = [label for label, height in value.items() if height > limit]
        return f"How many bars are above {limit}?", str(answer), [cells(chart, above), f"count {answer}"]
    if kind == "sum":
        fewest, most = (min(terms, len(value)) for terms in sum_terms)
        chosen = rng.sample(labels, rng.randint(fewest, most))
        terms = [value[label] for label in chosen]
        steps = [cells(chart, chosen), f"{' + '.join(map(str, terms))} = {sum(terms)}"]
        return f"What is the sum of {listed(chosen)}?", str(sum(terms)), steps
    first, second = rng.sample(labels, 2)
    if kind == "difference":
        high, low = max(value[first], value[second]), min(value[first], value[second])
        question = f"What is the difference between {first} and {second}?"
        return question, str(high - low), [cells(chart, [first, second]), f"{high} - {low} = {high - low}"]
    assert kind == "yes/no", kind
    taller = value[first] > value[second]
    return f"Is {first} taller than {second}?", "yes" if taller else "no", [cells(chart, [first, second])]


def cells(chart: BarChart, labels: list[str]) -> str:
    """The rows of these bars as the table has them: a step repeats what it needs."""
    return ", ".join(json.dumps([label, str(chart.labelled[label])]) for label in labels)


def completion_of(chart: DrawnChart, answer: str, steps: list[str]) -> str:
    """A right completion in the project's format: type, table and steps inside the reasoning, then the answer."""
    numbered = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    return (
        f"<think>\n<type>{chart.chart_type}</type>\n<table>{json.dumps(chart.table)}</table>\n{numbered}\n</think>\n"
        f"<answer>{answer}</answer>"
    )


def worked_examples(split: str, seed: int, start: int = 0) -> Iterator[tuple[ChartQuestion, str]]:
    """Questions of `split` without end, from the one numbered `start`, each with a right completion."""
    index, warm = start, split == "warm-start"
    weights, sum_terms = (WARM_START_KINDS, WARM_START_SUM_TERMS) if warm else (KINDS, SUM_TERMS)
    while True:
        place, turn = divmod(index, QUESTIONS_PER_CHART)
        rng = random.Random(f"synthetic/{split}/{seed}/{place}")
        chart = random_chart(split, rng)
        kinds: list[str] = []
        while len(kinds) < QUESTIONS_PER_CHART:  # different kinds, so no question is asked twice
            kind = rng.choices(list(weights), weights=list(weights.values()))[0]
            kinds += [kind] * (kind not in kinds)
        for kind in kinds[turn:]:
            question, answer, steps = ask(kind, chart, random.Random(f"{split}/{seed}/{place}/{kind}"), sum_terms)
            own = question_about(
                chart, partial(draw, chart), "synthetic", split, f"{seed}-{index:06d}", question=question,
                answers=(answer,), kind=kind, answer_kind=ANSWER_KINDS.get(kind, "number"),
            )  # fmt: skip
            yield own, completion_of(chart, answer, steps)
            index += 1


def question_about(
    chart: DrawnChart, picture: Callable[[], Image.Image], source: str, split: str, number: str, **fields: Any
) -> ChartQuestion:
    return ChartQuestion(
        f"{source}-{split}-{number}", open_image=picture, image_id=chart.image_id, chart_type=chart.chart_type,
        table=chart.table, source=source, split=split, **{"rule": "strict", "tolerance": 0.0, **fields},
    )  # fmt: skip


def synthetic_questions(split: str, size: int, seed: int = SEED) -> list[ChartQuestion]:
    """The first `size` questions of a split; a larger size begins with the same questions."""
    return first_questions("synthetic", (question for question, _ in worked_examples(split, seed)), split, size)


def first_questions(name: str, stream: Iterator[ChartQuestion], split: str, size: int) -> list[ChartQuestion]:
    """The first `size` questions of a split's `stream`; a larger size begins with the same questions."""
    if split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}: choose {', '.join(SPLITS)}")
    if size < 1:
        raise ValueError(f"the number of questions must be at least 1, not {size}")
    return list(islice(stream, size))
