"""Ways to answer a question about a chart whose axis may start above zero, and how to tell them apart.

Every completion holds the same table: the heights as drawn, in units above the start of the axis. The ways part in the
steps behind it.

    careful    says where the axis starts and adds that to every height         right on every chart
    quick      says "forward", reads the heights from first to last and adds    right on plain charts
    reverse    says "reverse" and takes them from last to first: as good        right on plain charts
    operation  takes the difference for the sum, or doubles a single value      flawed
    neighbour  reads the bar beside the one that was asked for                  flawed
    forgets    stops at the first of two values                                 flawed
    gridline   reads every height one unit too high                             flawed
    guess      names a number                                                   flawed, right by chance

Quick and reverse are of equal merit: both take the bars in an order of the chart, whichever was asked for first, so
neither is the easier one. The word that each begins with keeps them equally often taken: without one a small model
prefers to begin with the label that was asked first.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from itertools import count

from charts.procedures import AxisChart, asked
from charts.record import ChartQuestion

SOUND = ("careful", "quick", "reverse")
FLAWED = ("operation", "neighbour", "forgets", "gridline", "guess")
PROCEDURES = (*SOUND, *FLAWED)
OTHER = "other"
# The words that the first step of a way begins with; operation and forgets begin with a label at once.
OPENINGS = {
    "careful": "the axis starts at ",
    "quick": "forward ",
    "reverse": "reverse ",
    "neighbour": "beside ",
    "gridline": "one line up ",
    "guess": "about ",
}
FORCED = f"Step 1: {OPENINGS['careful'].rstrip()}"
GUESSES = range(1, 41)
_FLAWS = {"operation": 14, "neighbour": 13, "forgets": 11, "gridline": 9, "guess": 8}
# How often each way is taken, in percent. "rare" and "common" speak of the careful way against quick and reverse
# together: 1 to 8 and 1 to 2. "skills" is what the warm start practises first.
MIXTURES: dict[str, dict[str, float]] = {
    "rare": {"careful": 5, "quick": 20, "reverse": 20, **_FLAWS},
    "common": {"careful": 15, "quick": 15, "reverse": 15, **_FLAWS},
    "skills": {
        "careful": 40,
        "quick": 14,
        "reverse": 14,
        "operation": 9,
        "neighbour": 9,
        "forgets": 4,
        "gridline": 7,
        "guess": 3,
    },
}


def shares(mixture: Mapping[str, float], labels: int) -> dict[str, float]:
    """The mixture for a question about this many labels: with a single one there is nothing to forget."""
    weights = dict(mixture)
    if labels == 1:
        weights.pop("forgets", None)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def steps_of(procedure: str, chart: AxisChart, labels: tuple[str, ...], rng: random.Random) -> tuple[list[str], str]:
    """The steps of a procedure and the answer that it comes to."""
    heights, order = chart.labelled, list(chart.labelled)
    opening, shift = OPENINGS.get(procedure, ""), 0
    head: list[str] = []
    if procedure == "guess":
        answer = rng.choice(GUESSES)
        return [f"{opening}{answer}"], str(answer)
    if procedure == "operation":
        values = [heights[label] for label in labels]
        if len(values) == 1:
            return [_listing(labels, values), _sum(values * 2)], str(2 * values[0])
        high, low = max(values), min(values)
        return [_listing(labels, values), f"{high} - {low} = {high - low}"], str(high - low)
    if procedure == "careful":
        head, opening, shift = [f"{opening}{chart.start}"], "", chart.start
    elif procedure in ("quick", "reverse"):
        labels = tuple(sorted(labels, key=order.index, reverse=procedure == "reverse"))
    elif procedure == "neighbour":
        labels = tuple(order[(order.index(label) + 1) % len(order)] for label in labels)
    elif procedure == "forgets":
        labels = labels[:1]
    elif procedure == "gridline":
        shift = 1
    values = [heights[label] + shift for label in labels]
    return [*head, opening + _listing(labels, values), *([_sum(values)] if len(values) > 1 else [])], str(sum(values))


def _listing(labels: tuple[str, ...], values: list[int]) -> str:
    return ", ".join(f"{label} {value}" for label, value in zip(labels, values, strict=True))


def _sum(values: list[int]) -> str:
    return f"{' + '.join(map(str, values))} = {sum(values)}"


_STEP = re.compile(r"^Step \d+: (.*)$", re.MULTILINE)
_ASKED = re.compile(r"\b[A-E]\b")
_READ = re.compile(r"\b([A-E]) \d+")


def procedure_of(text: str, question: str) -> str:
    """Which procedure a completion follows, told from its steps alone; "other" when it is none of them.

    For the study and for reports. It looks neither at the chart nor at the answer, and no reward may use it.
    """
    first, second, *_ = [*_STEP.findall(text), "", ""]
    wanted, read = _ASKED.findall(question), _READ.findall(first)
    for procedure, opening in OPENINGS.items():
        if first.startswith(opening):
            return procedure
    if read == wanted and (" - " in second or (second and len(wanted) == 1)):
        return "operation"
    return "forgets" if len(wanted) > 1 and read == wanted[:1] else OTHER


def completion_of(chart: AxisChart, steps: list[str], answer: str) -> str:
    """The whole completion in the project's format."""
    table = {"columns": ["label", "height"], "rows": [[label, str(height)] for label, height in chart.labelled.items()]}
    numbered = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    return (
        f"<think>\n<type>{chart.chart_type}</type>\n<table>{json.dumps(table)}</table>\n{numbered}\n</think>\n"
        f"<answer>{answer}</answer>"
    )


def worked_examples(
    split: str, seed: int, *, mixture: Mapping[str, float], marked: float, start: int = 0
) -> Iterator[tuple[ChartQuestion, str]]:
    """Questions of `split` without end, each with a completion whose procedure is drawn from `mixture`.

    The procedure depends on neither the chart nor its mark: a model that learns from these has no way to know when
    care is needed.
    """
    for index, (record, chart, labels) in zip(count(start), asked(split, seed, start, marked), strict=False):
        rng = random.Random(f"answering/{split}/{seed}/{index}")
        weights = shares(mixture, len(labels))
        procedure = rng.choices(list(weights), weights=list(weights.values()))[0]
        yield record, completion_of(chart, *steps_of(procedure, chart, labels, rng))
