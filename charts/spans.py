"""Answers that are exact by nature: dates, ranges and ratios."""

from __future__ import annotations

import re
from decimal import Decimal

from charts.quantities import PERCENT, canonical_unit

_MONTHS = "january february march april may june july august september october november december"
_MONTH = {name: number for number, name in enumerate(_MONTHS.split(), 1)}
_MONTH |= {name[:3]: number for name, number in _MONTH.items()} | {"sept": 9}
_M = rf"(?P<m>{'|'.join(sorted(_MONTH, key=len, reverse=True))})\.?"
_D, _Y = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?", r"(?P<y>\d{4})"
_DATES = [
    re.compile(pattern)
    for pattern in (
        rf"{_M},? {_D},? {_Y}",
        rf"(?:the )?{_D} (?:of )?{_M},? {_Y}",
        rf"{_M},? (?:of )?{_Y}",
        rf"{_Y},? {_M}(?: {_D})?",
        rf"{_M} {_D}",
        rf"(?:the )?{_D} (?:of )?{_M}",
        rf"{_M}",
        r"(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})",
    )
]
_QUARTERS = [re.compile(p) for p in (r"q(?P<q>[1-4])[ ,-]*(?P<y>\d{4})?", r"(?P<y>\d{4})[ ,-]*q(?P<q>[1-4])")]
_END = r"([$€£]?)\s*(\d[\d,]*(?:\.\d+)?)\s*({})?"
_RANGE = re.compile(
    r"(?P<lead>from |between )?(?P<c1>[$€£]?)\s*(?P<a>\d[\d,]*(?:\.\d+)?)\s*(?P<u1>%|[a-z°/]{1,8}?)?\s*"
    r"(?P<sep>-|\bto\b|\bthrough\b|\band\b|/)\s*(?P<c2>[$€£]?)\s*(?P<b>\d[\d,]*(?:\.\d+)?)\s*(?P<u2>%|[a-z°/ ]*)"
)
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*(:|to|/|is to)\s*(\d+(?:\.\d+)?)")


def read_date(text: str) -> tuple | None:
    """(year, month, day, quarter), None for what is left out; None for a text that is no date with a month in it."""
    text = text.lower()
    if len(text) > 40:
        return None
    for pattern in _QUARTERS:
        if match := pattern.fullmatch(text):
            return (int(match["y"]) if match["y"] else None, None, None, int(match["q"]))
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            month = _MONTH.get(parts["m"]) or int(parts["m"])
            year, day = parts.get("y"), parts.get("d")
            if month <= 12 and (day is None or 1 <= int(day) <= 31):
                return (int(year) if year else None, month, int(day) if day else None, None)
    return None


def read_range(text: str) -> tuple | None:
    """(low, high, unit) of "10-20", "10 to 20 kg" and "between 10 and 20"; None for anything else."""
    match = _RANGE.fullmatch(text.lower()) if len(text) <= 60 else None
    if not match or (match["sep"] == "and") != (match["lead"] == "between "):
        return None
    low, high = (Decimal(match[end].replace(",", "")) for end in "ab")
    if match["sep"] == "/" and not (len(match["a"]) == 4 and len(match["b"]) in (2, 4)):
        return None
    if len(match["a"]) == 4 and len(match["b"]) == 2 and match["a"].isdigit() and high > low % 100:
        high += low // 100 * 100  # 2009-10
    unit = (match["u2"] or "").strip() or (match["u1"] or "").strip()
    unit = "%" if unit in PERCENT else canonical_unit(unit)
    return low, high, match["c1"] + unit or match["c2"] + unit


def read_ratio(text: str, loose: bool = False) -> tuple[Decimal, Decimal] | None:
    """(3, 2) of "3:2"; of "3 to 2" and "3/2" only when `loose`."""
    match = _RATIO.fullmatch(text.lower()) if len(text) <= 40 else None
    if not match or (match[2] != ":" and not loose):
        return None
    return Decimal(match[1]), Decimal(match[3])
