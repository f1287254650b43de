"""What a question asks for: a year, a count, a percentage, millions, kilograms, an order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from charts.quantities import CURRENCIES, SCALES, UNITS, canonical_unit
from charts.spelling import tidy

_YEAR = re.compile(
    r"^(?:since |until |till |by |from )?when\b|\b(?:what|which|list|name|give|state|identify|find|tell)\b[^?.]*?"
    r"\b(?:years?|editions?|census)\b(?!\s*(?:of\s+)?\d)|\byear (?:did|was|had|has|with|saw|is|when|in which|that)\b"
)
_HOW_MANY = re.compile(
    r"\bhow many\b|\bthe (?:count|number) of (?:bars|lines|colou?rs|categories|groups|slices|labels)\b"
)
_PERCENT = re.compile(
    r"(?<![\d.])(?<![\d.]\s)(?:%|\bper ?cents?\b|\bpct\b)|\bpercentages?\b|(?<!per )\bshare\b(?! price)|\bproportion\b"
)
_SCALE = re.compile(
    r"(?:\b(?:in|of|by|how many)|\() ?(?:u\.?s\.? )?(thousands?|millions?|billions?|trillions?|mn|bn)\b|\((\w+) ?\)"
)
_UNIT = re.compile(
    r"\bin (?:the )?(?:units? of )?([^?.,;()]+)|\bhow many ([^?.,;()]+)|\(([^()]+)\)|\bnumber of ([^?.,;()]+)"
)
_ORDER = re.compile(
    r"\b(?:ascending|descending|increasing|decreasing|chronological|alphabetical|respectively|respective)\b"
    r"|\bin (?:the )?(?:\w+ )?order\b|\border(?:ed)? (?:of|by|from)\b"
    r"|\b(?:sort|sorted|rank|ranked|ranking|arrange|arranged)\b"
    r"|\bfrom (?:the )?(?:highest|lowest|largest|smallest|most|least|top|left|right|first|earliest|latest)\b[^?]* to\b"
    r"|\b(?:highest|lowest|largest|smallest|earliest|latest|most|least) first\b"
)
_MEASURE = re.compile(
    r"\b(?:value|values|number|numbers|amount|percent|percentage|share|rate|price|score|figure|total|sum|average|mean"
    r"|median|ratio|difference|level|quantity|proportion|count|temperature|height|length|size)\b|%"
)
_WORDS = re.compile(r"[^\W_]+")
_LINKING = {"or", "and", "to", "not", "nor", "versus", "vs", "but", "than", "minus", "plus", "no", "without"}


@dataclass(frozen=True, slots=True)
class Asked:
    year: bool
    how_many: bool
    percent: bool
    ratio: bool
    ordered: bool
    label: bool  # "Which bus line ...?": a number in reply is a name
    scale: int  # 6 for "in millions", else 0
    units: frozenset[str]
    currencies: frozenset[str]
    words: frozenset[str]  # may stand beside a number in the reply: "12 bars"


@lru_cache(maxsize=1 << 10)
def read_question(question: str) -> Asked:
    text = tidy(question).lower()
    how_many = bool(_HOW_MANY.search(text))
    scale = next((SCALES[m[1] or m[2]] for m in _SCALE.finditer(text) if (m[1] or m[2]) in SCALES), 0)
    words = _WORDS.findall(text)
    return Asked(
        year=bool(_YEAR.search(text)) and not how_many,
        how_many=how_many,
        percent=bool(_PERCENT.search(text)),
        ratio="ratio" in words,
        ordered=bool(_ORDER.search(text)),
        label=text.startswith(("which ", "who ", "whose ")) and not _MEASURE.search(text),
        scale=scale,
        units=frozenset(_units(text)),
        currencies=frozenset(_currencies(text, words)),
        words=frozenset(stem(word) for word in words if word not in _LINKING),
    )


def stem(word: str) -> str:
    """Singular and plural alike: "countries" and "country", "boxes" and "box"."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def beside_number(text: str, asked: Asked) -> bool:
    """Whether these words may stand behind a number: all of them are words of the question."""
    return all(word not in _LINKING and stem(word) in asked.words for word in _WORDS.findall(text))


def _units(text: str):
    for match in _UNIT.finditer(text):
        words = (match[1] or match[2] or match[3] or match[4]).split()
        while words and words[0] in SCALES:
            words = words[2:] if words[1:2] == ["of"] else words[1:]
        for count in range(min(3, len(words)), 0, -1):
            unit = " ".join(words[:count])
            if unit in UNITS:
                yield canonical_unit(unit)
                break


def _currencies(text: str, words: list[str]):
    for spelling, currency in CURRENCIES.items():
        if spelling in text and (not spelling[-1].isalpha() or spelling.split()[-1] in words):
            yield currency
    if "pounds" in words or "pound" in words:
        yield "GBP"
