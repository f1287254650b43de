"""Data sets that are drawn from a seed: no download, as many questions as are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from charts.record import ChartQuestion

# Share of the space of charts that a split owns, in percent. "warm-start" is for building the embedded models alone.
SPLITS = {"train": range(0, 50), "validation": range(50, 60), "test": range(60, 70), "warm-start": range(70, 100)}
SIZES = {"train": 2_000, "validation": 500, "test": 500}  # split -> questions, unless more are asked for


class Drawn(NamedTuple):
    about: str
    questions: Callable[[str, int], list[ChartQuestion]]  # (split, how many)


def first_questions(name: str, stream: Iterator[ChartQuestion], split: str, size: int) -> list[ChartQuestion]:
    """The first `size` questions of a split's `stream`; a larger size begins with the same questions."""
    if split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}: choose {', '.join(SPLITS)}")
    if size < 1:
        raise ValueError(f"the number of questions must be at least 1, not {size}")
    return list(islice(stream, size))


def _synthetic(split: str, size: int) -> list[ChartQuestion]:
    from charts.synthetic import synthetic_questions

    return synthetic_questions(split, size)


def _procedures(split: str, size: int) -> list[ChartQuestion]:
    from charts.procedures import procedure_questions

    return procedure_questions(split, size)


DRAWN = {
    "synthetic": Drawn(
        "bar charts drawn from a seed; no download",
        _synthetic,
    ),
    "procedures": Drawn(
        "bars and lines whose axis may start above zero, drawn from a seed, for the model organism; no download",
        _procedures,
    ),
}
