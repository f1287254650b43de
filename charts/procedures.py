"""Charts whose axis may start above zero: drawn from a seed, with questions, gold answers and gold tables.

A chart is a bar chart, a horizontal bar chart or a line of marks with 3 to 5 different heights of 1 to 9 units,
labelled A, B, C, ... Its axis starts at 0 (a *plain* chart) or at 10 or 20 (a *marked* one: tinted paper and one
stroke through the axis for every ten left out). A value is the height plus the start of the axis. Questions ask for one
value or for the sum of two. Seven pixels are one unit, and an axis starts where two patches of 14 pixels meet: the
model that learns to read these charts is small (organism/build.py).

A chart's heights and start are hashed, and the hash says to which split it belongs: no chart of one split can occur in
another, not even as another kind of chart, whatever the seeds. Consecutive questions share a chart, two by two.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from charts.record import ChartQuestion
from charts.synthetic import SEED, SPLITS, DrawnChart, digest, first_questions, question_about

COLORS = {
    "red": (200, 20, 20), "blue": (30, 60, 200), "green": (20, 120, 40), "purple": (120, 30, 160),
    "black": (25, 25, 25),
}  # fmt: skip
LABELS = "ABCDE"
CHART_TYPES = ("bar", "horizontal bar", "line")
HEIGHTS = range(1, 10)
STARTS = (10, 20)  # of the axis of a marked chart
MARKED = 0.18  # share of marked charts
KINDS = {"value": 2, "sum": 5}  # how often each is asked
QUESTIONS_PER_CHART = 2

UNIT, PITCH = 7, 18  # pixels: of a unit of the axis; from one bar to the next
LEFT, BOTTOM = 17, 98  # pixels: the corner of the axes of an upright chart
SIDE, TOP = 28, 8  # pixels: of a horizontal chart, where the axis starts and where its first row does
INK, FAINT, STROKE = (60, 60, 60), (215, 215, 215), (200, 0, 200)
TINTS = {0: (255, 255, 255), 10: (255, 230, 140), 20: (160, 210, 255)}


@dataclass(frozen=True)
class AxisChart(DrawnChart):
    """Bars or marks above the start of an axis."""

    chart_type: str
    color: str
    heights: tuple[int, ...]  # units above the start of the axis
    start: int  # of the axis
    gridlines: bool
    thickness: int  # pixels, of a bar; a mark of a line is always six by six

    @property
    def labelled(self) -> dict[str, int]:
        """Label -> height above the start of the axis, from the left or from the top."""
        return dict(zip(LABELS, self.heights, strict=False))

    @property
    def marked(self) -> bool:
        return self.start > 0

    @property
    def table(self) -> dict:
        rows = [[label, str(height + self.start)] for label, height in self.labelled.items()]
        return {"columns": ["label", "value"], "rows": rows}

    @property
    def part(self) -> int:
        """The hundredth of the space of charts in which this one lies: heights and start alone decide."""
        return int(digest((self.heights, self.start)), 16) % 100


class Asked(NamedTuple):
    """A question with what it was made of."""

    record: ChartQuestion
    chart: AxisChart
    labels: tuple[str, ...]  # asked for, in the order of the question


def draw(chart: AxisChart) -> Image.Image:
    """The chart as a fresh 112 x 112 RGB image."""
    image = Image.new("RGB", (112, 112), TINTS[chart.start])
    canvas = ImageDraw.Draw(image)
    (_draw_horizontal if chart.chart_type == "horizontal bar" else _draw_upright)(canvas, chart)
    return image


def _draw_upright(canvas: ImageDraw.ImageDraw, chart: AxisChart) -> None:
    font, shade = ImageFont.load_default_imagefont(), COLORS[chart.color]  # a bitmap: the same pixels everywhere
    top, right = BOTTOM - 10 * UNIT, LEFT + PITCH * len(chart.heights)
    for tick in (0, 5, 10):
        y = BOTTOM - UNIT * tick
        if chart.gridlines:
            canvas.line([(LEFT, y), (right, y)], fill=FAINT)
        canvas.line([(LEFT - 2, y), (LEFT, y)], fill=INK)
        text = str(tick + chart.start)
        canvas.text((LEFT - 3 - 6 * len(text), y - 6), text, fill=INK, font=font)
    middles = [LEFT + PITCH // 2 + PITCH * place for place in range(len(chart.heights))]
    tips = [(x, BOTTOM - UNIT * height) for x, height in zip(middles, chart.heights, strict=True)]
    if chart.chart_type == "line":
        canvas.line(tips, fill=(170, 170, 170))
    for (x, y), label in zip(tips, LABELS, strict=False):
        if chart.chart_type == "line":
            canvas.rectangle([x - 3, y - 3, x + 2, y + 2], fill=shade)
        else:
            canvas.rectangle([x - chart.thickness // 2, y, x + chart.thickness // 2 - 1, BOTTOM - 1], fill=shade)
        canvas.text((x - 2, BOTTOM + 1), label, fill=INK, font=font)
    canvas.line([(LEFT, top), (LEFT, BOTTOM), (right, BOTTOM)], fill=INK)
    for stroke in range(chart.start // 10):
        canvas.rectangle([LEFT - 14, 86 - 12 * stroke, LEFT + 1, 89 - 12 * stroke], fill=STROKE)


def _draw_horizontal(canvas: ImageDraw.ImageDraw, chart: AxisChart) -> None:
    font, shade = ImageFont.load_default_imagefont(), COLORS[chart.color]  # a bitmap: the same pixels everywhere
    bottom, right = TOP + PITCH * len(chart.heights), SIDE + 10 * UNIT
    for tick in (0, 5, 10):
        x = SIDE + UNIT * tick
        if chart.gridlines:
            canvas.line([(x, TOP), (x, bottom)], fill=FAINT)
        canvas.line([(x, bottom), (x, bottom + 2)], fill=INK)
        text = str(tick + chart.start)
        canvas.text((x - 3 * len(text), bottom + 2), text, fill=INK, font=font)
    for place, (height, label) in enumerate(zip(chart.heights, LABELS, strict=False)):
        y = TOP + PITCH // 2 + PITCH * place
        box = [SIDE, y - chart.thickness // 2, SIDE + UNIT * height - 1, y + chart.thickness // 2 - 1]
        canvas.rectangle(box, fill=shade)
        canvas.text((SIDE - 10, y - 6), label, fill=INK, font=font)
    canvas.line([(SIDE, TOP), (SIDE, bottom), (right, bottom)], fill=INK)
    for stroke in range(chart.start // 10):
        canvas.rectangle([SIDE + 8 + 12 * stroke, bottom - 3, SIDE + 11 + 12 * stroke, bottom + 6], fill=STROKE)


def random_chart(split: str, rng: random.Random, marked: float = MARKED) -> AxisChart:
    """A chart of the part of the space that `split` owns, marked with probability `marked`."""
    start = rng.choice(STARTS) if rng.random() < marked else 0
    while True:
        count = rng.randint(3, len(LABELS))
        chart = AxisChart(
            chart_type=rng.choice(CHART_TYPES),
            color=rng.choice(list(COLORS)),
            heights=tuple(rng.sample(HEIGHTS, count)),
            start=start,
            gridlines=rng.random() < 0.5,
            thickness=rng.choice((10, 14)),
        )
        if chart.part in SPLITS[split]:
            return chart


def ask(labels: tuple[str, ...]) -> str:
    """The question for the value of one label or for the sum of two."""
    if len(labels) == 1:
        return f"What is the value of {labels[0]}?"
    return f"What is the sum of {labels[0]} and {labels[1]}?"


def start_of(question: ChartQuestion) -> int:
    """Where the axis of a question's chart starts: no height is above 9, so it is the tens of the values."""
    assert question.table is not None
    return min(int(value) for _, value in question.table["rows"]) // 10 * 10


def asked(split: str, seed: int, start: int = 0, marked: float = MARKED) -> Iterator[Asked]:
    """Questions of `split` without end, from the one numbered `start`."""
    index = start
    while True:
        place, turn = divmod(index, QUESTIONS_PER_CHART)
        rng = random.Random(f"procedures/{split}/{seed}/{place}")
        chart = random_chart(split, rng, marked)
        wanted: list[tuple[str, ...]] = []
        while len(wanted) < QUESTIONS_PER_CHART:
            kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
            labels = tuple(rng.sample(list(chart.labelled), 1 if kind == "value" else 2))
            wanted += [labels] * (set(labels) not in map(set, wanted))
        for labels in wanted[turn:]:
            yield Asked(_record(chart, labels, f"{seed}-{index:06d}", split), chart, labels)
            index += 1


def _record(chart: AxisChart, labels: tuple[str, ...], number: str, split: str) -> ChartQuestion:
    kind = f"{'value' if len(labels) == 1 else 'sum'} {'marked' if chart.marked else 'plain'}"
    gold = str(sum(chart.labelled[label] + chart.start for label in labels))
    return question_about(
        chart, partial(draw, chart), "procedures", split, number, question=ask(labels), answers=(gold,),
        kind=kind, answer_kind="number",
    )  # fmt: skip


def procedure_questions(split: str, size: int, seed: int = SEED, marked: float = MARKED) -> list[ChartQuestion]:
    """The first `size` questions of a split; a larger size begins with the same questions."""
    return first_questions("procedures", (one.record for one in asked(split, seed, marked=marked)), split, size)
