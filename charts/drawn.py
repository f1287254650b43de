"""Data sets that are drawn from a seed: no download, as many questions as are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from charts.record import ChartQuestion

SIZES = {"train": 2_000, "validation": 500, "test": 500}  # split -> questions, unless more are asked for


class Drawn(NamedTuple):
    about: str
    questions: Callable[[str, int], list[ChartQuestion]]  # (split, how many)


def _synthetic(split: str, size: int) -> list[ChartQuestion]:
    from charts.synthetic import synthetic_questions

    return synthetic_questions(split, size)


def _procedures(split: str, size: int) -> list[ChartQuestion]:
    from charts.procedures import procedure_questions

    return procedure_questions(split, size)


def _counting(split: str, size: int) -> list[ChartQuestion]:
    from charts.counting import counting_questions

    return counting_questions(split, size)


def _grounding(split: str, size: int) -> list[ChartQuestion]:
    from charts.grounding import grounding_questions

    return grounding_questions(split, size)


def _marked(split: str, size: int) -> list[ChartQuestion]:
    from charts.procedures import procedure_questions

    return procedure_questions(split, size, seed=2026, marked=1.0)  # other charts, and so other ids


DRAWN = {
    "synthetic": Drawn(
        "bar charts drawn from a seed; no download",
        _synthetic,
    ),
    "procedures": Drawn(
        "bars and lines whose axis may start above zero, drawn from a seed, for the model organism; no download",
        _procedures,
    ),
    "procedures-marked": Drawn("charts of procedures whose axis starts above zero, and no others", _marked),
    "counting": Drawn("scenes of coloured shapes to be counted, drawn from a seed; no download", _counting),
    "grounding": Drawn("the charts of synthetic; asked is where a bar is, answered by its box", _grounding),
}
