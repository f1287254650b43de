"""Numbers as people write them: signs, separators, currency, magnitude words, percent and units."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from charts.spelling import leading_number


def _spellings(table: str) -> dict[str, str]:
    """Spelling -> what it stands for, of a table in quantities.json."""
    return {spelling: name for name, spellings in _TABLES[table].items() for spelling in spellings}


_TABLES = json.loads(Path(__file__).with_name("quantities.json").read_text(encoding="utf-8"))
SCALES = {word: int(power) for word, power in _spellings("scales").items()}  # powers of ten
CURRENCIES, UNITS = _spellings("currencies"), _spellings("units")
_LETTER_SCALES = {"M": (6, False), "m": (6, True), "T": (12, False), "t": (12, True)}  # True: may also be a unit
_DOLLARS = {"$", "USD", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD"}
PERCENT = {"%", "percent", "per cent", "pct", "percentage", "percentage points", "percentage point", "pp", "percents"}
_NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:[ ']\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+"
)
_SYMBOL = r"[$€£¥₹₩₽]|(?:us|u\.s\.|ca?|au?|r|nz|hk|s|nt|mx)\s?\$"
_CODE = r"usd|eur|gbp|jpy|cny|rmb|inr|krw|chf|cad|aud|nzd|hkd|sgd|twd|mxn|rs\.?"
_QUANTITY = re.compile(
    rf"(?P<sign>[-+]|minus |negative )?\s*(?:(?P<currency>{_SYMBOL}|(?:{_CODE})(?=[\s\d]))\s*)?(?P<inner>[-+])?"
    rf"(?P<number>{_NUMBER})(?:\s?e(?P<e>[-+]?\d{{1,4}})"
    r"|\s*(?:[x×✕*·⋅•∙]|times)\s*10\s*(?:\^|\*\*)?\s*[({]?(?P<ten>[-+]?\d{1,3})[)}]?)?(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_FRACTION = re.compile(r"(?P<sign>-)?(?:(?P<whole>\d{1,6})[ ])?\s*(?P<top>\d{1,9})\s*/\s*(?P<bottom>\d{1,9})")
_PLAIN = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?")
_SEPARATORS = str.maketrans("", "", ", '")
_TEN_TO = re.compile(r"\s*(?:\^|\*\*)\s*[({]?([-+]?\d{1,3})[)}]?")
_UNIT_TEXT = re.compile(r"(?=.*[^\W\d_]|°)(?:[^\W\d_]|[°²³/·.'() -]|(?<=[^\W\d_])[23](?![\w.])|per 1[0,]*)+")
_MAX_DIGITS, _MAX_EXPONENT = 40, 300


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` is written out in full: 1.5 million is 1500000; 12 % is 12 with `percent` set."""

    value: Decimal
    scale: int = 0  # power of ten that a magnitude word stands for
    percent: bool = False
    currency: str = ""
    unit: str = ""  # canonical for known units, the words themselves otherwise
    fraction: bool = False


def read_quantity(text: str) -> tuple[Quantity, ...]:
    """Every reading of a tidy text as one quantity: none for what is not one, two for "5 m" (metres or million)."""
    if _PLAIN.fullmatch(text):
        return (Quantity(Decimal(text)),)
    if len(text) > 200 or not text:
        return ()
    if "/" in text and (fraction := _FRACTION.fullmatch(text)) and int(fraction["bottom"]):
        ratio = Decimal(int(fraction["top"])) / Decimal(int(fraction["bottom"])) + int(fraction["whole"] or 0)
        return (Quantity(-ratio if fraction["sign"] else ratio, fraction=True),)
    match = _QUANTITY.fullmatch(text) or _QUANTITY.fullmatch(_spelled(text))
    if not match or (match["sign"] and match["inner"]):
        return ()
    value = _value(match["number"], match["e"] or match["ten"])
    if value is None:
        return ()
    if (match["sign"] or match["inner"] or "").strip().lower() in ("-", "minus", "negative"):
        value = -value
    rest = match["rest"]
    if match["number"] == "10" and (power := _TEN_TO.fullmatch(rest)):
        value, rest = (Decimal(-1) if value < 0 else Decimal(1)).scaleb(int(power[1])), ""
    if rest[:1].isdigit() or re.match(r"[.,:/-]\s*\d|-", rest):
        return ()
    currency = CURRENCIES.get((match["currency"] or "").lower().rstrip(".").replace(" ", ""), "")
    return tuple(reading for reading in _readings(value, currency, rest.strip()) if reading)


def _spelled(text: str) -> str:
    """ "minus twenty-one bars" -> "-21 bars"."""
    sign = re.match(r"(?:minus|negative) ", text, re.IGNORECASE)
    found = leading_number(text[sign.end() :] if sign else text)
    return ("-" if sign else "") + found[0] + found[1] if found and found[1][:1] in ("", " ", "-", "%") else ""


def _value(number: str, power: str | None) -> Decimal | None:
    exponent = int(power or 0)
    digits = number.translate(_SEPARATORS)
    if len(digits) > _MAX_DIGITS or abs(exponent) > _MAX_EXPONENT:
        return None
    return Decimal(digits).scaleb(exponent) if exponent else Decimal(digits)


def _readings(value: Decimal, currency: str, rest: str) -> list[Quantity | None]:
    if not rest:
        return [Quantity(value, currency=currency)]
    first, _, others = rest.partition(" ")
    if first in _LETTER_SCALES:
        power, also_unit = _LETTER_SCALES[first]
        readings = [_finish(value.scaleb(power), power, currency, others)]
        return [*readings, _finish(value, 0, currency, rest)] if also_unit else readings
    scale = 0
    while first.lower() in SCALES or first.lower().rstrip(".") in SCALES:
        scale += SCALES[first.lower().rstrip(".")]
        rest = others
        first, _, others = rest.partition(" ")
    return [_finish(value.scaleb(scale) if scale else value, scale, currency, rest)]


def _finish(value: Decimal, scale: int, currency: str, rest: str) -> Quantity | None:
    """Percent, currency and unit behind the number; None when they contradict each other."""
    rest = rest.strip().lstrip("-").strip().lower()
    if not rest:
        return Quantity(value, scale, currency=currency)
    percent = False
    if rest.startswith("%"):
        percent, rest = True, rest[1:].strip()
    else:
        words, rest = take(rest, PERCENT)
        percent = bool(words)
    for table in ("currency", "of"):
        if table == "of" and rest.startswith("of "):
            rest = rest[3:]
        words, after = take(rest, CURRENCIES)
        if words:
            named = CURRENCIES[words]
            if currency and not (same_currency(currency, named) or same_currency(named, currency)):
                return None
            currency, rest = named if currency in ("", "$") else currency, after
    if rest and not _UNIT_TEXT.fullmatch(rest):
        return None
    return Quantity(value, scale, percent, currency, canonical_unit(rest))


def take(text: str, table: Collection[str]) -> tuple[str, str]:
    """The longest run of up to three words at the start of `text` that `table` knows, and what follows."""
    words = text.split(" ", 3)
    for count in range(min(3, len(words)), 0, -1):
        start = " ".join(words[:count])
        if start in table:
            return start, " ".join(words[count:])
    return "", text


def canonical_unit(text: str) -> str:
    text = text.strip().lower()
    return UNITS.get(text) or UNITS.get(text.rstrip(".")) or text


def same_currency(said: str, meant: str) -> bool:
    """A bare dollar may stand for any; where a bare dollar is meant, no other than the US dollar is."""
    return said == meant or (said == "$" and meant in _DOLLARS) or (said == "USD" and meant == "$")
