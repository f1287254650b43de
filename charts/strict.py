"""The strict rule: spelling is forgiven, content is not.

Years, counts, ranges, dates and ratios are exact; other numbers may differ by the tolerance, measured against |gold|;
0 is only 0. Separators, currency, magnitude words, number words and the asked-for unit are spelling; another unit,
currency or magnitude is another answer, and percent counts only where the gold or the question speaks of percent.
Lists are unordered unless the question asks for an order. Text must be the text. Two answers are no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from charts.asked import Asked, beside_number, read_question
from charts.listing import read_list, splits
from charts.quantities import UNITS, Quantity, read_quantity, same_currency
from charts.spans import read_date, read_range, read_ratio
from charts.spelling import key, tidy, unlabelled

DEFAULT_TOLERANCE = Decimal("0.05")
LARGEST_PLAIN_COUNT = 100  # a "how many" whose gold is larger may be a value read from an axis
_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}
_EXPLAINED = re.compile(r"(yes|no|true|false)[,.;:] (.+)")
_DOUBTS = re.compile(r"\b(?:yes|no|not|true|false|or|maybe|but)\b|n't\b")
_HEDGE = re.compile(r"(?:about|around|approximately|approx\.?|roughly|circa|ca\.|~)\s*", re.IGNORECASE)
_YEAR_WORDS = re.compile(r"(?:in |the )*(?:year )?(\d{3,4})", re.IGNORECASE)
_BOUND = re.compile(r"\b(?:and|or|plus|over|under|older|younger|above|below|more|less|up)\b")
_DECADE = re.compile(r"(?:the )?(?:early |mid-?|late )?\d{2,4}'?s")
_SEVERAL = re.compile(r"\b(?:or|and)\b|[,;/]", re.IGNORECASE)
_NOT_NUMBERS = {"nan", "inf", "infinity", "-inf", "-infinity", "+inf"}


@dataclass(frozen=True)
class Gold:
    """A gold answer, read once: `form` says by which comparison it is matched."""

    text: str  # tidy
    key: str
    form: str  # "list", "boolean", "date", "range", "ratio", "number", "year" or "text"
    value: object
    asked: Asked
    tolerance: Decimal  # 0: exact
    kind: str = ""

    @classmethod
    def read(cls, gold: str, answer_kind: str, tolerance: float | None, question: str) -> Gold:
        asked = read_question(question)
        text = tidy(gold)
        form, value = _form(text, answer_kind, asked)
        allowed = DEFAULT_TOLERANCE if tolerance is None else Decimal(str(tolerance))
        if form == "number" and _is_exact(value, answer_kind, asked):
            allowed = Decimal(0)
        if form == "list":
            kind = "" if answer_kind == "list" else answer_kind
            value = tuple(cls.read(item, kind, tolerance, question) for item in value)
        return cls(text, key(text), form, value, asked, allowed, answer_kind)


def match(answer: str, gold: Gold) -> tuple[bool, str]:
    """Whether `answer` says what `gold` says, and why (not)."""
    text = tidy(answer)
    if key(text) == gold.key:
        return True, "same text"
    text = unlabelled(text)
    if text.lower().rstrip("%") in _NOT_NUMBERS:
        return False, "not a finite number"
    if gold.form == "list":
        return _match_list(text, gold)
    return _match_one(text, gold)


def relative_error(answer: str, gold: Gold) -> float | None:
    """|answer - gold| / |gold| for numbers that may differ; None where nothing but the gold itself is right."""
    if gold.form != "number" or not gold.tolerance:
        return None
    readings, meant = read_quantity(unlabelled(tidy(answer))), gold.value[0]
    said = next((one for one in readings if same_quantity(one, one, gold.asked, Decimal(0))[0]), None)
    comparable = said and meant.value and (meant.percent or gold.asked.percent or not said.percent)
    return float(abs(said.value - meant.value) / abs(meant.value)) if comparable else None


def _match_one(text: str, gold: Gold) -> tuple[bool, str]:
    if key(text) == gold.key:
        return True, "same text"
    if gold.form == "boolean":
        said = _boolean(text)
        return said is gold.value, "says neither yes nor no" if said is None else "yes or no"
    if gold.form == "date":
        return read_date(text) == gold.value, "date"
    if gold.form == "range":
        return _same_range(read_range(text), gold), "range"
    if gold.form == "ratio":
        return _same_ratio(read_ratio(text, loose=True), gold), "ratio"
    if gold.form == "year":
        year = _YEAR_WORDS.fullmatch(text) or re.fullmatch(r"(\d{3,4})\.0+", text)
        return bool(year) and int(year[1]) == gold.value, "years are exact"
    if gold.form == "number":
        return _match_number(text, gold)
    return False, "several answers in one" if _SEVERAL.search(text) else "another text"


def _match_number(text: str, gold: Gold) -> tuple[bool, str]:
    readings = read_quantity(text)
    if not readings and gold.tolerance and (hedge := _HEDGE.match(text)):
        readings = read_quantity(text[hedge.end() :])
    if not readings and (gold.kind == "count" or gold.asked.how_many) and text.lower() == "none":
        readings = read_quantity("0")
    if not readings and gold.asked.ratio and (terms := read_ratio(text)) and terms[1]:
        readings = (Quantity(terms[0] / terms[1]),)
    if not readings:
        return False, "several answers in one" if _SEVERAL.search(text) else "not one number"
    reason = ""
    for said in readings:
        for meant in gold.value:
            right, reason = same_quantity(said, meant, gold.asked, gold.tolerance)
            if right:
                return True, reason
    return False, reason


def same_quantity(said: Quantity, meant: Quantity, asked: Asked, tolerance: Decimal) -> tuple[bool, str]:
    if said.percent and not meant.percent and not (asked.percent and not (meant.currency or meant.unit)):
        return False, "percent against a plain number"
    if said.currency and not _currency_fits(said, meant, asked):
        return False, "another currency"
    if said.unit and not _unit_fits(said, meant, asked):
        return False, "another unit, or words beside the number"
    if _close(said.value, meant.value, tolerance):
        return True, "within tolerance" if tolerance else "same number"
    if asked.scale:
        step = asked.scale
        if said.value >= 0 <= meant.value or said.value <= 0 >= meant.value:
            short = not meant.scale and _close(said.value.scaleb(-step), meant.value, tolerance)
            long = not said.scale and meant.scale and _close(said.value.scaleb(step), meant.value, tolerance)
            if short or long:
                return True, "same number in the asked-for magnitude"
    bare = not (said.percent or said.currency or said.unit)
    if meant.percent and bare and _close(said.value * 100, meant.value, tolerance):
        return True, "same share as a fraction"
    return False, "another number"


def _close(said: Decimal, meant: Decimal, tolerance: Decimal) -> bool:
    return said == meant if not tolerance or not meant else abs(said - meant) <= tolerance * abs(meant)


def _currency_fits(said: Quantity, meant: Quantity, asked: Asked) -> bool:
    if meant.currency:
        return same_currency(said.currency, meant.currency)
    if meant.percent or (meant.unit and not (meant.unit == "lb" and said.currency == "GBP")):
        return False
    return not asked.currencies or any(same_currency(said.currency, one) for one in asked.currencies)


def _unit_fits(said: Quantity, meant: Quantity, asked: Asked) -> bool:
    unit, known = said.unit, said.unit in UNITS
    if unit == "lb" and (meant.currency == "GBP" or (not meant.unit and "GBP" in asked.currencies)):
        return True
    if meant.unit:
        if (
            unit == meant.unit
            or (unit == "°" and meant.unit in ("°c", "°f"))
            or (not known and beside_number(unit, asked))
        ):
            return True
        return not known and set(unit.split()) <= set(meant.unit.split())
    if meant.percent and known:
        return False
    if asked.units and known:
        return unit in asked.units
    if beside_number(unit, asked):
        return True
    return known and not asked.how_many and not asked.percent and not asked.currencies


def _form(text: str, answer_kind: str, asked: Asked) -> tuple[str, object]:
    lowered = text.lower()
    bracketed = text.startswith("[") and text.endswith("]")  # a bracket that never closes is part of the text
    if answer_kind == "list" or bracketed:
        items = read_list(text)
        if len(items) > 1 or (items and bracketed):
            return "list", items
    if answer_kind == "text" or _DECADE.fullmatch(lowered):
        return "text", None
    if lowered in _BOOLEANS:
        return "boolean", _BOOLEANS[lowered]
    if (date := read_date(text)) and answer_kind != "number":
        return "date", date
    if re.fullmatch(r"\d{3,4}", text) and (
        answer_kind == "year" or (_looks_like_year(text, answer_kind) and asked.year)
    ):
        return "year", int(text)
    if ratio := read_ratio(text):
        return "ratio", ratio
    if span := read_range(text):
        return "range", span
    quantities = read_quantity(text)
    if quantities and not (asked.label and quantities[0].unit) and not _BOUND.search(quantities[0].unit):
        return "number", quantities
    return "text", None


def _looks_like_year(text: str, answer_kind: str) -> bool:
    return answer_kind in ("", "list") and len(text) == 4 and 1000 <= int(text) <= 2199


def _is_exact(readings: tuple[Quantity, ...], answer_kind: str, asked: Asked) -> bool:
    quantity = readings[0]
    if answer_kind in ("count", "year") or any(reading.fraction for reading in readings):
        return True
    if answer_kind:
        return False
    whole = quantity.value == quantity.value.to_integral_value() and not quantity.percent and not quantity.scale
    if asked.how_many and whole and abs(quantity.value) <= LARGEST_PLAIN_COUNT:
        return True
    return asked.label and whole and not quantity.unit and not quantity.currency


def _boolean(text: str) -> bool | None:
    lowered = text.lower()
    if lowered in _BOOLEANS:
        return _BOOLEANS[lowered]
    explained = _EXPLAINED.fullmatch(lowered)
    return _BOOLEANS[explained[1]] if explained and not _DOUBTS.search(explained[2]) else None


def _same_range(said: tuple | None, gold: Gold) -> bool:
    if said is None or said[:2] != gold.value[:2]:
        return False
    unit, meant = said[2], gold.value[2]
    return unit in ("", meant) or (
        not meant and (beside_number(unit, gold.asked) or (unit == "%" and gold.asked.percent))
    )


def _same_ratio(said: tuple | None, gold: Gold) -> bool:
    if said is None:
        return False
    equal = gold.asked.ratio and all((*said, *gold.value)) and said[0] * gold.value[1] == said[1] * gold.value[0]
    return said == gold.value or bool(equal)


def _match_list(text: str, gold: Gold) -> tuple[bool, str]:
    ordered = gold.asked.ordered or gold.kind == "ordered list"
    reason = f"not a list of {len(gold.value)}"
    for items in splits(text, len(gold.value)):
        if ordered:
            right = all(_match_item(item, want) for item, want in zip(items, gold.value, strict=True))
        else:
            right = _assignable(items, gold.value)
        reason = "ordered list" if ordered else "unordered list"
        if right:
            return True, reason
    return False, reason


def _match_item(item: str, gold: Gold) -> bool:
    return match(item, gold)[0]


def _assignable(items: list[str], golds: tuple[Gold, ...]) -> bool:
    """Whether every gold item finds its own item: augmenting paths in the graph of matching pairs."""
    fits = [[j for j, gold in enumerate(golds) if _match_item(item, gold)] for item in items]
    taken: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j in fits[i]:
            if j not in seen:
                seen.add(j)
                if j not in taken or place(taken[j], seen):
                    taken[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(items)))
