"""Data sets that are drawn from a seed: no download, as many questions as are asked for."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from charts.counting import counting_questions
from charts.grounding import grounding_questions
from charts.procedures import procedure_questions
from charts.record import ChartQuestion
from charts.synthetic import synthetic_questions

SIZES = {"train": 2_000, "validation": 500, "test": 500}  # split -> questions, unless more are asked for


class Drawn(NamedTuple):
    about: str
    questions: Callable[[str, int], list[ChartQuestion]]  # (split, how many)


DRAWN = {
    "synthetic": Drawn("bar charts drawn from a seed; no download", synthetic_questions),
    "procedures": Drawn(
        "bars and lines whose axis may start above zero, drawn from a seed, for the model organism; no download",
        procedure_questions,
    ),
    "procedures-marked": Drawn(
        "charts of procedures whose axis starts above zero, and no others",
        partial(procedure_questions, seed=2026, marked=1.0),  # other charts, and so other ids
    ),
    "counting": Drawn("scenes of coloured shapes to be counted, drawn from a seed; no download", counting_questions),
    "grounding": Drawn("the charts of synthetic; asked is where a bar is, answered by its box", grounding_questions),
}
