"""The strict rule: spelling is forgiven, content is not.

Years, counts, ranges, dates and ratios are exact; other numbers may differ by the tolerance, measured against |gold|;
0 is only 0. Separators, currency, magnitude words, number words and the asked-for unit are spelling; another unit,
currency or magnitude is another answer. Percent and a magnitude beside a bare gold are spelling too where the question
names none (the axis carries them); where gold or question names one, it decides. Lists are unordered unless the
question asks for an order or names the items one by one. Text must be the text. Two answers are no answer.
"""

import re
from decimal import Decimal

from charts.amounts import as_drawn, same_quantity
from charts.answer_hints import AnswerHints
from charts.answer_lists import on_one_line, splits
from charts.booleans import read_boolean
from charts.dates import read_date, read_month, read_season, read_short_year, read_short_years
from charts.dates_and_ranges import read_open, read_range, read_ratio
from charts.gold import Gold
from charts.quantities import CURRENCIES, UNITS, Quantity, read_quantity
from charts.spelling import key, tidy, unlabelled, unmarked

_HEDGE = re.compile(r"(?:about|around|approximately|approx\.?|roughly|circa|ca\.|~)\s*", re.IGNORECASE)
_YEAR_WORDS = re.compile(
    r"(?:(?:in|the|en|el|im|ano|año|année|jahr|в|عام|سنة|वर्ष|सन|year) )*(\d{3,4})(?:\.0+| ?年| год[ау]?| में)?",
    re.IGNORECASE,
)
_WHEN = {"in", "on"}  # "in June" is June
_QUALIFIED = re.compile(r"\b(?:women|men|females?|males?|boys|girls|with|without|in|from)\b")  # a part of the range
_DECADE = re.compile(r"(?:the )?(?:1[89]|20)\d0'?s", re.IGNORECASE)  # and no seconds
_SEVERAL = re.compile(r"\b(?:or|and)\b|[,;/]", re.IGNORECASE)
_AXIS = "same number, with what the axis says"
_NOT_NUMBERS = {"nan", "inf", "infinity", "-inf", "-infinity", "+inf"}


def match(answer: str, gold: Gold) -> tuple[bool, str]:
    """Whether `answer` says what `gold` says, and why (not)."""
    text = tidy(answer)
    if key(text) == gold.key:
        return True, "same text"
    if gold.form == "list":
        verdict = _match_list(unlabelled(text), gold)  # of several lines, the items may go on over their ends
        by_line = tidy(on_one_line(answer))
        return verdict if verdict[0] or by_line == text else _match_list(unlabelled(by_line), gold)
    bare = unmarked(text)
    if gold.marked and bare != text:  # two footnotes may tell two things apart
        return key(text).replace(" *", "*") == key(gold.marked).replace(" *", "*"), "footnote marks"
    bare = unlabelled(bare)
    if bare is not text and key(bare) == gold.key:
        return True, "same text"
    if bare[-1:] in "nNfFyY%" and bare.lower().rstrip("%") in _NOT_NUMBERS:
        return False, "not a finite number"
    return _match_one(bare, gold)


def relative_error(answer: str, gold: Gold) -> float | None:
    """|answer - gold| / |gold| for numbers that may differ; None where nothing but the gold itself is right."""
    if gold.form != "number" or not gold.tolerance:
        return None
    meant = gold.value[0]
    readings = [as_drawn(one, gold) or one for one in read_quantity(unlabelled(unmarked(tidy(answer))))]
    said = next((one for one in readings if same_quantity(one, one, gold.asked, Decimal(0))[0]), None)
    if said is None or not meant.value or (said.percent and not (meant.percent or gold.asked.percent)):
        return None
    return float(abs(said.value - meant.value) / abs(meant.value))


def _match_one(text: str, gold: Gold) -> tuple[bool, str]:
    if gold.form == "number":
        return _match_number(text, gold)
    if gold.form == "boolean":
        said = read_boolean(text)
        return said is gold.value, "says neither yes nor no" if said is None else "yes or no"
    if gold.form in ("date", "year", "season"):
        text = _without_preposition(text, gold.asked)
    if gold.form == "date":
        return _same_date(text, gold), "date"
    if gold.form == "range":
        return _same_range(text, gold), "range"
    if gold.form == "open":
        return _same_open(read_open(text), gold), "open range"
    if gold.form == "season":
        return read_season(text) == gold.value or read_range(text) == (*gold.value, ""), "season"
    if gold.form == "ratio":
        return _same_ratio(read_ratio(text, loose=True), gold), "ratio"
    if gold.form == "year":
        year = _YEAR_WORDS.fullmatch(text)
        number = int(year[1]) if year else read_short_year(text) if text.startswith("'") else None
        return number == gold.value, "years are exact"
    return False, "several answers in one" if _SEVERAL.search(text) else "another text"


def _without_preposition(text: str, asked: AnswerHints) -> str:
    """ "June" of "in June", and "2030" of "by 2030" in reply to "By what year ...?"."""
    word, _, rest = text.partition(" ")
    word = word.lower()
    return rest if rest and (word in _WHEN or asked.text.startswith((f"{word} what ", f"{word} which "))) else text


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
    first, asked = readings[0], gold.asked
    if (first.fraction and text[:4].isdigit() and read_season(text)) or (first.unit == "s" and _DECADE.fullmatch(text)):
        return False, "a season or a decade against a number"
    if (first.percent or (first.currency and not asked.currencies)) and gold.is_count:
        return False, "percent or currency against a count"
    if (first.currency or (first.unit in UNITS and not (asked.age and first.unit == "year"))) and gold.is_name:
        return False, "a measure against a name"
    reason, either = "", len(readings) > 1 and readings[1].unit in UNITS and asked.units  # "50 m" is no 50 million cm
    for said in readings:
        for meant in gold.value:
            right, reason = same_quantity(said, meant, gold.asked, gold.tolerance)
            if right:
                return True, reason
        drawn = as_drawn(said, gold) if said.percent or (said.scale and not either) else None
        if drawn and same_quantity(drawn, gold.value[0], gold.asked, gold.tolerance)[0]:
            return True, _AXIS
    return False, reason


def _same_date(text: str, gold: Gold) -> bool:
    said = read_date(text)
    if said is None and gold.value[3] == "fy" and text[:1] in "fF":
        said = (read_short_year(text), None, None, "fy")
    return said == gold.value or (gold.asked.month and read_month(text) == gold.value)


def _same_range(text: str, gold: Gold) -> bool:
    said = read_range(text)
    if said is None and gold.asked.range and (ends := next(splits(text, 2), None)):
        said = read_range(" to ".join(ends))
    low, high, meant = gold.value
    if said is None or said[:2] != (low, high):
        years = (read_season(text), read_short_years(text)) if not meant and gold.asked.season else ()
        return (low, high) in years
    unit, asked = said[2], gold.asked
    if unit in ("", meant):
        return unit == meant or not _QUALIFIED.search(meant)
    if asked.age and unit in UNITS and unit != "year":
        return False
    if unit == "%" and not meant and asked.silent and not asked.units and not asked.age:
        return True
    return same_quantity(_end(low, unit), _end(low, meant), asked, Decimal(0))[0]


def _end(value: Decimal, unit: str) -> Quantity:
    """An end of a range as a quantity; its unit begins with the sign of a currency or is one of percent."""
    currency, unit = (CURRENCIES[unit[0]], unit[1:]) if unit[:1] in ("$", "€", "£") else ("", unit)
    return Quantity(value, percent=unit == "%", currency=currency, unit="" if unit == "%" else unit)


def _same_open(said: tuple[str, Quantity] | None, gold: Gold) -> bool:
    if said is None or said[0] != gold.value[0]:
        return False
    (_, one), (_, meant) = said, gold.value
    if gold.asked.age and one.unit in UNITS and one.unit != "year":
        return False
    if one.unit != meant.unit and _QUALIFIED.search(meant.unit):
        return False
    return same_quantity(one, meant, gold.asked, Decimal(0))[0]


def _same_ratio(said: tuple | None, gold: Gold) -> bool:
    if said is None:
        return False
    equal = gold.asked.ratio and all((*said, *gold.value)) and said[0] * gold.value[1] == said[1] * gold.value[0]
    return said == gold.value or bool(equal)


def _match_list(text: str, gold: Gold) -> tuple[bool, str]:
    ordered = gold.ordered or gold.kind == "ordered list"
    reason = f"not a list of {len(gold.value)}"
    for items in splits(text, len(gold.value)):
        if ordered:
            right = all(_match_item(item, want) for item, want in zip(items, gold.value, strict=True))
        else:
            right = _assignable(items, gold.value)
        reason = "ordered list" if ordered else "unordered list"
        if right and _one_axis(items, gold.value):
            return True, reason
    if gold.asked.range and len(gold.value) == 2 and (span := read_range(text)):
        return all(_match_item(f"{end}{span[2]}", want) for end, want in zip(span, gold.value, strict=False)), "range"
    return False, reason


def _match_item(item: str, gold: Gold) -> bool:
    return match(item, gold)[0]


def _one_axis(items: list[str], golds: tuple[Gold, ...]) -> bool:
    """Whether the magnitudes and percent signs that items add to bare golds are the same: one chart has one axis."""
    added = set()
    for item in items:
        marked = not item[-1:].isdigit()
        if marked and any(gold.form == "number" and match(item, gold) == (True, _AXIS) for gold in golds):
            said = read_quantity(unlabelled(unmarked(tidy(item))))[0]
            added.add((said.scale, said.percent))
    return len(added) < 2


def _assignable(items: list[str], golds: tuple[Gold, ...]) -> bool:
    """Whether every gold item finds its own item."""
    from scipy.optimize import linear_sum_assignment  # takes half a second to import, and few answers are lists

    fits = [[_match_item(item, gold) for gold in golds] for item in items]
    return sum(fits[i][j] for i, j in zip(*linear_sum_assignment(fits, maximize=True), strict=True)) == len(items)
