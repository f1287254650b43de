"""Dates, quarters and seasons, with years in full or short: "May '21", "Q4 2020", "2018/19"."""

import re

_MONTHS = "january february march april may june july august september october november december"
_MONTH = {name: number for number, name in enumerate(_MONTHS.split(), 1)}
_MONTH |= {name[:3]: number for name, number in _MONTH.items()} | {"sept": 9}
_M = rf"(?P<m>{'|'.join(sorted(_MONTH, key=len, reverse=True))})\.?"
_D, _Y = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?", r"(?P<y>\d{4}|'\d{2})"
_DATES = [
    re.compile(pattern)
    for pattern in (
        rf"{_M},? {_D},? {_Y}",
        rf"(?:the )?{_D} (?:of )?{_M},? {_Y}",
        rf"{_D}[-/]{_M}[-/](?P<y>\d{{2}}|\d{{4}})",
        rf"{_M}[,-/]? ?(?:of |in )?{_Y}",
        rf"{_M}[-/](?P<y>\d{{2}})",  # "May-21" is how spreadsheets shorten May 2021
        rf"{_Y}[,-/]? ?{_M}(?: {_D})?",
        rf"{_M} {_D}",
        rf"(?:the )?{_D} (?:of )?{_M}",
        rf"{_M}",
        r"(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})",
    )
]
_PART = {"first": "1", "second": "2", "third": "3", "fourth": "4", "1st": "1", "2nd": "2", "3rd": "3", "4th": "4"}
_QUARTERS = [
    re.compile(pattern)
    for pattern in (
        r"(?P<part>q[1-4]|h[12])[ ,-/]*(?:of |in )?(?:fy ?)?(?P<y>\d{4}|'?\d{2})?",
        r"(?P<n>[1-4])(?P<p>q)[ ,-/]*(?:fy ?)?(?P<y>\d{4}|'?\d{2})?",
        r"(?:fy ?)?(?P<y>\d{4}|'?\d{2})[ ,-/]*(?P<part>q[1-4]|h[12])",
        rf"(?:the )?(?P<n>{'|'.join(_PART)}) (?P<p>quarter|half)(?:,? (?:of |in )?(?P<y>\d{{4}}|'\d{{2}}))?",
    )
]
_SEASON = re.compile(r"(?:the |fy ?)?'?(\d{4}|\d{2})\s*[-/]\s*'?(\d{4}|\d{2})(?: season)?")
_SHORT_YEAR = re.compile(r"'(\d{2})|fy ?'?(\d{2}|\d{4})")
_MONTH_YEAR = re.compile(rf"{_M} (?P<y>\d{{2}})")
_SHORT_YEARS = re.compile(r"(?:from )?'?(\d{2})\s*(?:-|to|until|/)\s*'?(\d{2})")
_LONGEST = 40


def full_year(digits: str) -> int:
    """2018 of "2018", "18" and "'18"; 1998 of "98": short years are those from 1950 to 2049."""
    digits = digits.lstrip("'")
    return int(digits) if len(digits) == 4 else int(digits) + (2000 if int(digits) < 50 else 1900)


def read_date(text: str) -> tuple | None:
    """(year, month, day, part), None for what is left out; None for a text that is no date with a month in it.

    The part is a quarter or half: "q4", "h1".
    """
    text = text.lower()
    if len(text) > _LONGEST:
        return None
    for pattern in _QUARTERS:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            part = parts.get("part") or parts["p"][0] + _PART.get(parts["n"], parts["n"])
            if part != "h3" and part != "h4":
                return (full_year(parts["y"]) if parts["y"] else None, None, None, part)
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            month = _MONTH.get(parts["m"]) or int(parts["m"])
            year, day = parts.get("y"), parts.get("d")
            if month <= 12 and (day is None or 1 <= int(day) <= 31):
                return (full_year(year) if year else None, month, int(day) if day else None, None)
    return None


def read_month(text: str) -> tuple | None:
    """May 2021 for "May 21", which `read_date` reads as a day."""
    match = _MONTH_YEAR.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    return (full_year(match["y"]), _MONTH[match["m"]], None, None) if match else None


def read_season(text: str) -> tuple[int, int] | None:
    """(2018, 2019) of "18/19", "2018/19" and "2018-2019"; None for years that do not follow each other."""
    match = _SEASON.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    if not match:
        return None
    first, last = full_year(match[1]), full_year(match[2])
    if len(match[2]) == 2:
        last = first // 100 * 100 + int(match[2]) + (100 if match[2] == "00" else 0)
    return (first, last) if last == first + 1 and 1000 <= first <= 2199 else None


def read_short_year(text: str) -> int | None:
    """2018 of "'18", "FY18" and "FY 2018"."""
    match = _SHORT_YEAR.fullmatch(text.lower()) if len(text) <= 8 else None
    return full_year(match[1] or match[2]) if match else None


def read_short_years(text: str) -> tuple[int, int] | None:
    """(2009, 2012) of "09-12" and "'09 to '12"."""
    match = _SHORT_YEARS.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    return (full_year(match[1]), full_year(match[2])) if match else None
