"""Answers that are exact by nature: ranges, open ranges and ratios."""

import re
from decimal import Decimal

from charts.quantities import PERCENT, Quantity, canonical_unit, read_quantity

_RANGE = re.compile(
    r"(?P<lead>from |between (?:the ages of )?|aged? |ages )?"
    r"(?P<c1>[$€£]?)\s*(?P<a>\d[\d,]*(?:\.\d+)?)\s*(?P<u1>%|[a-z°/]{1,8}?)?\s*"
    r"(?P<sep>-|~|\bto\b|\bthrough\b|\buntil\b|\band\b|/)\s*(?P<c2>[$€£]?)\s*(?P<b>\d[\d,]*(?:\.\d+)?)\s*"
    r"(?P<u2>%|[a-z°/ -]*)"
)
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*(:|to|/|is to)\s*(\d+(?:\.\d+)?)")
_NUMBER = r"(?P<number>[^\d]{0,4}\d[\d.,]*(?: ?(?:k|m|bn|thousand|million|billion)\b)?)"
_UNIT = r"(?P<unit>(?: ?%| ?-?[a-z°][a-z°/]*(?: old| of age)?)?)"
_UPWARDS = r"(?:older|over|above|more|up|upwards?|greater|higher|longer|later)"
_DOWNWARDS = r"(?:under|younger|less|below|fewer|lower|shorter|earlier)"
_THAN = r"(?:more|greater|older|longer|higher|larger) than"
_LESS_THAN = r"(?:less|fewer|younger|shorter|lower|smaller) than"
_OPEN = [
    (sign, re.compile(pattern))
    for sign, pattern in (
        (">", rf"(?:over|above|{_THAN}|>)\s*{_NUMBER}{_UNIT}"),
        ("<", rf"(?:under|below|{_LESS_THAN}|<)\s*{_NUMBER}{_UNIT}"),
        (">=", rf"(?:at least|a minimum of|(?:no|not) {_LESS_THAN}|≥|>=)\s*{_NUMBER}{_UNIT}"),
        ("<=", rf"(?:at most|up to|a maximum of|(?:no|not) {_THAN}|≤|<=)\s*{_NUMBER}{_UNIT}"),
        (">=", rf"{_NUMBER}{_UNIT}\s*(?:\+|-?plus\b|(?:and|or|&) {_UPWARDS}\b){_UNIT.replace('unit', 'after')}"),
        ("<=", rf"{_NUMBER}{_UNIT} (?:and|or|&) {_DOWNWARDS}\b{_UNIT.replace('unit', 'after')}"),
    )
]
_LONGEST = 60


def read_range(text: str) -> tuple | None:
    """(low, high, unit) of "10-20", "10 to 20 kg" and "between 10 and 20"; None for anything else."""
    match = _RANGE.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    if not match or (match["sep"] == "and") != (match["lead"] or "").startswith("between"):
        return None
    low, high = (Decimal(match[end].replace(",", "")) for end in "ab")
    if match["sep"] == "/" and not (len(match["a"]) == 4 and len(match["b"]) in (2, 4)):
        return None
    if len(match["a"]) == 4 and len(match["b"]) == 2 and match["a"].isdigit() and high > low % 100:
        high += low // 100 * 100  # 2009-10
    unit = (match["u2"] or "").strip(" -") or (match["u1"] or "").strip()
    unit = "%" if unit in PERCENT else canonical_unit(unit)
    return low, high, match["c1"] + unit or match["c2"] + unit


def read_open(text: str) -> tuple[str, Quantity] | None:
    """(">=", 65 years) of "65+ years" and "65 years and older", (">", 30 min) of "over 30 mins"; None for all else.

    "65+" includes 65 and "over 65" does not: they are two answers.
    """
    lowered = text.lower() if len(text) <= _LONGEST else ""
    for sign, pattern in _OPEN if any(character.isdigit() for character in lowered) else ():
        if match := pattern.fullmatch(lowered.removeprefix("aged ").removeprefix("ages ").removeprefix("age ")):
            unit = match["unit"] or (match.groupdict().get("after") or "")
            readings = read_quantity((match["number"] + " " + unit.strip(" -")).strip())
            if readings and not readings[0].fraction:
                return sign, readings[0]
    return None


def read_ratio(text: str, loose: bool = False) -> tuple[Decimal, Decimal] | None:
    """(3, 2) of "3:2"; of "3 to 2" and "3/2" only when `loose`."""
    match = _RATIO.fullmatch(text.lower()) if len(text) <= 40 else None
    if not match or (match[2] != ":" and not loose):
        return None
    return Decimal(match[1]), Decimal(match[3])
