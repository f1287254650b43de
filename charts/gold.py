"""A gold answer, read once: what form it has, what the question asks for, how exact it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from charts.answer_hints import AnswerHints, beside_number, read_question
from charts.answer_lists import on_one_line, read_list
from charts.booleans import read_boolean
from charts.dates import read_date, read_season, read_short_year
from charts.dates_and_ranges import read_open, read_range, read_ratio
from charts.quantities import SCALES, UNITS, Quantity, read_quantity
from charts.spelling import key, tidy, unmarked

DEFAULT_TOLERANCE = Decimal("0.05")
LARGEST_PLAIN_COUNT = 100  # a "how many" whose gold is larger may be a value read from an axis
MAX_GOLD = 2_000  # characters, as for answers: a longer gold is text that no answer equals
LISTS = ("list", "ordered list")
_ORDINALS = {"st", "nd", "rd", "th"}
_DECADE = re.compile(r"(?:the )?(?:early |mid-?|late )?\d{2,4}'?s")
_POINT = re.compile(r"\(\s*-?\d[\d.]*\s*,\s*-?\d[\d.]*\s*\)")
_PLAIN = re.compile(r"-?\d{1,20}(?:\.\d+)?")
_GLUED = re.compile(r"\d[\d.,]*([^\W\d_]+)")


@dataclass(frozen=True)
class Gold:
    """`form` says by which comparison a gold is matched."""

    text: str  # tidy, without footnote marks
    key: str
    form: str  # "list", "boolean", "date", "range", "open", "season", "ratio", "number", "year" or "text"
    value: Any  # as the form has it
    asked: AnswerHints
    tolerance: Decimal  # 0: exact
    kind: str = ""
    marked: str = ""  # the tidy text itself, where it has footnote marks
    ordered: bool = False

    @classmethod
    def read(cls, gold: str, answer_kind: str, tolerance: float | None, question: str) -> Gold:
        asked = read_question(question)
        if len(gold) > MAX_GOLD:
            return cls(gold, gold, "text", None, asked, Decimal(0), answer_kind)
        by_line = answer_kind in LISTS and not gold.lstrip().startswith("[")
        marked = tidy(on_one_line(gold) if by_line else gold)
        text = marked if answer_kind in LISTS or marked.startswith("[") else unmarked(marked)  # items have their own
        form, value = _form(text, answer_kind, asked)
        allowed = _allowed(tolerance)
        if form == "number" and _is_exact(value, answer_kind, asked):
            allowed = Decimal(0)
        ordered = False
        if form == "list":
            kind = "" if answer_kind in LISTS else answer_kind
            value = tuple(cls.read(item, kind, tolerance, question) for item in value)
            ordered = _is_ordered(text, value, asked)
        return cls(text, key(text), form, value, asked, allowed, answer_kind, marked if marked != text else "", ordered)

    @property
    def is_name(self) -> bool:
        """Whether the gold is a number by which something is called: the bus line 204."""
        return self.form == "number" and not self.kind and _names(self.value[0], self.asked)

    @property
    def is_count(self) -> bool:
        """Whether the gold is a number of things, which no percentage is."""
        if self.form != "number" or self.kind:
            return self.kind == "count"
        return self.asked.counted and not self.asked.masses and is_countable(self.value[0])


def _allowed(tolerance: float | None) -> Decimal:
    """The relative tolerance; one that is not a finite, positive number allows nothing."""
    if tolerance is None:
        return DEFAULT_TOLERANCE
    allowed = Decimal(str(tolerance))
    return allowed if allowed.is_finite() and allowed > 0 else Decimal(0)


def _form(text: str, answer_kind: str, asked: AnswerHints) -> tuple[str, Any]:
    lowered = text.lower()
    bracketed = text.startswith("[") and text.endswith("]")  # a bracket that never closes is part of the text
    if answer_kind in LISTS or bracketed or (text.startswith("(") and _POINT.fullmatch(text)):
        items = read_list(text)
        if len(items) > 1 or (items and bracketed):
            return "list", items
    if answer_kind == "text" or _DECADE.fullmatch(lowered):
        return "text", None
    if lowered in ("yes", "no", "true", "false"):
        return "boolean", read_boolean(lowered)
    if re.fullmatch(r"\d{3,4}", text):
        likely = answer_kind in ("", *LISTS) and 1000 <= int(text) <= 2199
        if answer_kind == "year" or (likely and asked.year):
            return "year", int(text)
    if _PLAIN.fullmatch(text) and (quantities := read_quantity(text)):  # a longer one is text
        return "number", quantities
    return _exact_form(text, answer_kind, asked) or _number_form(text, asked)


def _exact_form(text: str, answer_kind: str, asked: AnswerHints) -> tuple[str, object] | None:
    if answer_kind != "number":
        if date := read_date(text):
            return "date", date
        if (short := read_short_year(text)) and (asked.year or not text.startswith("'")):
            return ("year", short) if text.startswith("'") else ("date", (short, None, None, "fy"))
        dated = asked.season if "/" in text else asked.year and len(text) <= 6  # 18/19, 18-19
        if dated and (season := read_season(text)):
            return "season", season
    for form, read in (("ratio", read_ratio), ("range", read_range), ("open", read_open)):
        if value := read(text):
            return form, value
    return None


def _number_form(text: str, asked: AnswerHints) -> tuple[str, object]:
    quantities = read_quantity(text)
    return ("number", quantities) if quantities and not _is_name(text, quantities, asked) else ("text", None)


def _is_name(text: str, readings: tuple[Quantity, ...], asked: AnswerHints) -> bool:
    """Whether a text that can be read as a number is a name: 5G, 3D, 5 Seconds of Summer."""
    quantity, unit = readings[0], readings[0].unit
    if quantity.fraction and (asked.label or asked.year or not asked.measure):
        return True
    if asked.label and asked.thing and _GLUED.fullmatch(text) and not quantity.currency:  # 401k
        return True
    if (readings[-1].unit and asked.label) or (
        unit and asked.thing and re.search(r"\d [A-Z][a-z]{2}", text)  # 50 Cent, 24 Hours
    ):
        return True
    if unit in _ORDINALS or (unit and beside_number(unit, asked)):
        return False
    glued = _GLUED.fullmatch(text)
    if glued and glued[1][0].isupper():
        letters = glued[1].lower()
        if letters in ("g", "s") or not (
            letters in UNITS or letters in SCALES or quantity.percent or quantity.currency
        ):
            return letters not in asked.units
        return asked.thing and not asked.units
    return bool(unit) and unit not in UNITS and not asked.measure


def _is_exact(readings: tuple[Quantity, ...], answer_kind: str, asked: AnswerHints) -> bool:
    quantity = readings[0]
    if answer_kind in ("count", "year") or quantity.unit in _ORDINALS or any(reading.fraction for reading in readings):
        return True
    if answer_kind:
        return False
    if asked.counted and is_countable(quantity) and not asked.physical:
        return True
    marked = bool(quantity.unit or quantity.currency or quantity.percent or quantity.scale)
    as_text = not marked and (asked.written or (asked.placed and is_whole(quantity)))
    return as_text or _names(quantity, asked)


def _names(quantity: Quantity, asked: AnswerHints) -> bool:
    bare = not (quantity.unit or quantity.currency or quantity.percent or quantity.scale)
    return bare and (asked.numbered or (asked.label and is_whole(quantity)))


def is_whole(quantity: Quantity) -> bool:
    return quantity.value == quantity.value.to_integral_value() and not quantity.percent and not quantity.scale


def is_countable(quantity: Quantity) -> bool:
    return is_whole(quantity) and abs(quantity.value) <= LARGEST_PLAIN_COUNT


def _is_ordered(text: str, golds: tuple[Gold, ...], asked: AnswerHints) -> bool:
    if text.startswith("("):
        return True
    forms = {gold.form for gold in golds}
    return asked.ordered or (len(forms) == 1 and asked.in_order(len(golds), text="text" in forms))
