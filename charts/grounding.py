"""Which bar is it? The charts of `synthetic`, with questions whose answer is a bar's box in pixels of the picture.

Asked for by its label, its colour, or as the tallest or shortest. A box is what is seen of the bar: the drawing itself
is made from it (`charts.synthetic.bars`). Splits share no chart, as there; two consecutive questions share one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from charts.boxes import KIND, gold_boxes
from charts.record import ChartQuestion
from charts.synthetic import (
    QUESTIONS_PER_CHART,
    SEED,
    BarChart,
    bars,
    cells,
    completion_of,
    draw,
    first_questions,
    question_about,
    random_chart,
)

SIZE = (112, 112)  # pixels
KINDS = {"label": 3, "colour": 3, "tallest": 1, "shortest": 1}  # how often each is asked


def ask(kind: str, chart: BarChart, rng: random.Random) -> tuple[str, str]:
    """A question of this kind and the label of the bar that it means."""
    value = chart.labelled
    if kind in ("tallest", "shortest"):
        return f"Where is the {kind} bar?", (max if kind == "tallest" else min)(value, key=value.__getitem__)
    label = rng.choice(list(value))
    if kind == "label":
        return f"Where is bar {label}?", label
    assert kind == "colour", kind
    return f"Where is the {dict(zip(value, chart.colors, strict=True))[label]} bar?", label


def worked_examples(split: str, seed: int, start: int = 0) -> Iterator[tuple[ChartQuestion, str]]:
    """Questions of `split` without end, from the one numbered `start`, each with a right completion."""
    index = start
    while True:
        place, turn = divmod(index, QUESTIONS_PER_CHART)
        rng = random.Random(f"grounding/{split}/{seed}/{place}")
        chart = random_chart(split, rng)
        asked: dict[str, tuple[str, str]] = {}
        while len(asked) < QUESTIONS_PER_CHART:  # about different bars
            kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
            question, label = ask(kind, chart, rng)
            asked.setdefault(label, (kind, question))
        for label, (kind, question) in list(asked.items())[turn:]:
            answers = gold_boxes(bars(chart)[label])
            record = question_about(
                chart, partial(draw, chart), "grounding", split, f"{seed}-{index:06d}", question=question,
                answers=answers, kind=kind, answer_kind=KIND, rule="iou", tolerance=None, image_size=SIZE,
            )  # fmt: skip
            yield record, completion_of(chart, answers[0], [cells(chart, [label])])
            index += 1


def grounding_questions(split: str, size: int) -> list[ChartQuestion]:
    """The first `size` questions of a split; a larger size begins with the same questions."""
    return first_questions("grounding", (question for question, _ in worked_examples(split, SEED)), split, size)
