"""What a question asks for: a year, a count, a percentage, millions, kilograms, an order.

English is read; of other languages the words of `languages` alone.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache

from charts import languages
from charts.quantities import CURRENCIES, SCALES, UNITS, canonical_unit
from charts.spelling import tidy

MAX_READ = 2_000  # characters: of a longer question the first and the last thousand are read

_WHICH = r"(?:what|which)"
_TIME = r"(?:time(?: period| frame| span| point)?s?|periods?|seasons?|dates?|decades?|moments?|points? in time)"
_YEAR = re.compile(
    r"^(?:since |until |till |by |from )?when\b|\b(?:what|which|list|name|give|state|identify|find|tell)\b[^?.]*?"
    r"\b(?:years?|editions?|census)\b(?!\s*(?:of\s+)?\d)|\byear (?:did|was|had|has|with|saw|is|when|in which|that)\b"
    rf"|\b{_WHICH} (?:(?:same|first|last|exact|specific|given|other|fiscal|two) )?{_TIME}\b(?! (?:spent|taken|needed))"
    r"|\bat what point\b"
)
_SEASON = re.compile(rf"\b(?:years?|season|seasons|fiscal|fy|editions?|{_TIME})\b")
_HOW_MANY = re.compile(
    r"\bhow many\b|\bthe (?:count|number) of (?:bars|lines|colou?rs|categories|groups|slices|labels)\b"
)
_MASSES = re.compile(  # what is surveyed or sold by the million: "How many people ...?" may be read in millions or %
    r"\bhow many (?:[\w.-]+ ){0,3}?(?:people|persons?|americans|adults|users?|subscribers?|customers?|viewers?|visitors?"
    r"|passengers?|inhabitants?|residents?|citizens|workers?|employees|students?|tourists|households?|women|men|voters?"
    r"|respondents|consumers|dollars|euros|pounds|yen|units|vehicles|copies|downloads|shares|tons|tonnes|barrels)\b"
)
_READ_FROM_AXIS = re.compile(
    r"\bhow many (?:%|per ?cent|percentage|thousand|million|billion|trillion|mn\b|bn\b|hundred)"
    r"|\bhow many (?:[\w.-]+ ){0,4}?(?:\(?in (?:thousand|million|billion|trillion)s?\b|\((?:thousand|million|billion)s?\)"
    r"|(?:in|as an?) (?:per ?cent|percentage)|(?<!\d )\(?%)"
)
_PERCENT = re.compile(
    r"(?<![\d.])(?<![\d.]\s)(?:%|\bper ?cents?\b|\bpct\b)|\bpercentages?\b|(?<!per )\bshare\b(?! price)|\bproportion\b"
)
_SCALE = re.compile(
    r"(?:\b(?:in|of|by|how many)|\() ?(?:u\.?s\.? )?(thousands?|millions?|billions?|trillions?|mn|bn)\b|\((\w+) ?\)"
)
_NAMED = re.compile(  # a magnitude or a share anywhere in the question
    r"%|\b(?:per ?cents?|pct|percentages?|shares?|proportions?|thousands?|millions?|billions?|trillions?|mn|mln|bn|lakhs?"
    r"|crores?|ratios?|fractions?|in (?:\w+ )?points)\b|\d ?[kmb]\b"
)
_DIMENSION = re.compile(
    rf"\b{_WHICH}(?:'s| is| was| are| were| will be)? (?:the )?(?:\w+ ){{0,2}}?(?:ages?|temperatures?|weights?|speed"
    r"|distance|depth|duration|life expectancy|rank|ranking|position|latitude|longitude|factor|year)\b"
    r"(?! (?:group|range|bracket|band|cohort|category|distribution|structure|change|growth))"
    r"|\bhow (?:old|tall|long|far|heavy|hot|cold|warm|deep|wide)\b"
)
_AGE = re.compile(
    rf"\b{_WHICH}(?:'s| is| was| are| were) (?:the )?(?:\w+ ){{0,2}}?ages?\b(?! \w+ is)(?= of|\?|$)|\bhow old\b"
)
_PRICE = re.compile(r"\b(?:prices?|costs?|salary|salaries|wages?|rents?|fees?)\b")
_CHANGE = re.compile(
    r"\b(?:growth|gr[eo]w|change[ds]?|increased?|decreased?|fell|rose|inflation|rates?|index|margin)\b"
)
_UNIT = re.compile(
    r"\bin (?:the )?(?:units? of )?([^?.,;()]+)|\bhow many ([^?.,;()]+)|\(([^()]+)\)|\bnumber of ([^?.,;()]+)"
)
_SPANS = {"year", "month", "week", "day", "hour", "minute", "second"}  # "in the year 2010" names no unit
_SHORT_SPANS = {"year", "month", "week", "day", "h", "min", "s"}
_ORDER = re.compile(
    r"\b(?:ascending|descending|increasing|decreasing|chronological|alphabetical|respectively|respective|coordinates?)\b"
    r"|\bin (?:the )?(?:\w+ )?order\b|\border(?:ed)? (?:of|by|from)\b"
    r"|\b(?:sort|sorted|rank|ranked|ranking|arrange|arranged)\b"
    r"|\bfrom (?:the )?(?:highest|lowest|largest|smallest|most|least|top|left|right|first|earliest|latest)\b[^?]* to\b"
    r"|\b(?:highest|lowest|largest|smallest|earliest|latest|most|least) first\b"
)
_SET = re.compile(  # asks for so many things as a set, whatever is named beside them
    r"\b(?:which|what) (?:two|three|four|five|six|\d+)\b|\b(?:two|three|four|five|six|\d+) (?:\w+est|most|least)\b"
    r"|\btop (?:two|three|four|five|\d+)\b|\b(?:same|equal|identical|either|intersect|cross)\b|(?<!of )(?<!for )\bboth\b"
)
_BETWEEN = re.compile(r"\bbetween [^?,]*? and\b")
_JOINED = re.compile(r"(?:,\s*)?\band\b|\bversus\b|\bvs\b|&|,\s+(?=\w)")
_EXTREME = r"(?:\w+est|most|least|first|last|top|bottom|left|right|upper|lower|max\w*|min\w*|worst|good|bad|mean|median|average)"
_CONTRAST = re.compile(
    rf"\b{_EXTREME}\b(?: \w+){{0,2}} and (?:the )?(?:second )?{_EXTREME}\b"
    r"|\bdo(?:es)? [^?]{0,120} and [^?]{0,120} (?:represent|stand for|show|mean)\b"
    r"|^what (?:are|were) [^?]*?\bof (?:the )?[\w']+(?: [\w']+)? and (?:the )?[\w']+"
)
_MEASURE = re.compile(
    r"\b(?:value|values|number|numbers|amount|percent|percentage|share|rate|price|score|figure|total|sum|average|mean"
    r"|median|ratio|difference|level|quantity|proportion|count|temperature|height|length|size)\b|%"
)
_MEASURED = re.compile(  # beside those: what a gold with a unit may be the measure of
    r"\b(?:weight|mass|depth|width|distance|speed|age|area|volume|duration|time|income|salary|salaries|wages?|revenues?"
    r"|profits?|costs?|sales|population|budget|debt|spending|expenditure|consumption|production|output|capacity|growth"
    r"|change|increase|decrease|gap|power|energy|rainfall|precipitation|range|prices?|rates?|scores?|gdp|loss|gain"
    r"|turnover|earnings|investments?|exports?|imports?|emissions?|margin|points?|value|worth|how)\b"
)
_VERB = r"\b(?:is|are|was|were|has|have|had|did|does|do|will|would|can|could|shows?|represents?|saw|with|that)\b"
_ASKED_FOR = re.compile(
    rf"^(?:(?:in|on|at|during|over|since|until|before|after|around|for|from|under|within) )?(which|what|who|whose)\b"
    rf"([^?.,]*?)(?:{_VERB}|[?.,]|$)"
)
_HEAD = re.compile(
    r"^(?:what|which)(?:'s| is| was| are| were) ([^?.,]*?)"
    r"(?:\b(?:of|in|for|on|at|by|from|to|during|when|that|shown|with|among)\b|[?.,]|$)"
)
_WORDS = re.compile(r"[^\W_]+")
_ENGLISH = frozenset({"what", "which", "how", "when"})
_LINKING = {"or", "and", "to", "not", "nor", "versus", "vs", "but", "than", "minus", "plus", "no", "without"}


def _spelling(text: str) -> str:
    return (r"(?<![^\W\d_])" if text[0].isalpha() else "") + re.escape(text) + (r"(?!\w)" if text[-1].isalpha() else "")


_CURRENCY_WORDS = {text.split()[-1] for text in CURRENCIES if text[-1].isalpha()} | {"pounds", "pound"}
_CURRENCY = re.compile(
    r"(?:in|korean|million|billion|trillion) (won)\b|"
    + "|".join(_spelling(text) for text in sorted(CURRENCIES, key=len, reverse=True) if text != "won")
)


class Asked:
    """What one question asks for. Every item is read when it is first needed."""

    def __init__(self, question: str) -> None:
        if len(question) > MAX_READ:
            question = question[: MAX_READ // 2] + " " + question[-MAX_READ // 2 :]
        self.text = tidy(question).lower()

    @cached_property
    def _list_of_words(self) -> list[str]:
        return _WORDS.findall(self.text)

    def _elsewhere(self, table: re.Pattern[str]) -> bool:
        """Whether a question in another language has one of these words."""
        return _ENGLISH.isdisjoint(self._list_of_words) and bool(table.search(self.text))

    @cached_property
    def how_many(self) -> bool:
        return bool(_HOW_MANY.search(self.text)) or self._elsewhere(languages.HOW_MANY)

    @cached_property
    def year(self) -> bool:
        return (bool(_YEAR.search(self.text)) or self._elsewhere(languages.YEAR)) and not self.how_many

    @cached_property
    def season(self) -> bool:
        """Whether "18/19" in reply is a season rather than a fraction."""
        return self.year or bool(_SEASON.search(self.text))

    @cached_property
    def month(self) -> bool:
        return "month" in self.text or "quarter" in self.text

    @cached_property
    def percent(self) -> bool:
        return bool(_PERCENT.search(self.text)) or self._elsewhere(languages.PERCENT)

    @cached_property
    def ratio(self) -> bool:
        return "ratio" in self._list_of_words

    @cached_property
    def range(self) -> bool:
        return "range" in self._list_of_words

    @cached_property
    def age(self) -> bool:
        return not {"age", "ages", "aged", "old", "older"}.isdisjoint(self._list_of_words)

    @cached_property
    def ordered(self) -> bool:
        return bool(_ORDER.search(self.text))

    @cached_property
    def counted(self) -> bool:
        """Whether a "how many" asks for what can be counted, not for a number of millions or percent."""
        named = _READ_FROM_AXIS.search(self.text)
        return self.how_many and not named and not self._how_many_in(languages.MAGNITUDE, languages.PERCENT)

    def _how_many_in(self, *tables: re.Pattern[str]) -> bool:
        asked = languages.HOW_MANY.search(self.text) if _ENGLISH.isdisjoint(self._list_of_words) else None
        behind = self.text[asked.end() : asked.end() + 20] if asked else ""
        return any(table.search(behind) for table in tables)

    @cached_property
    def masses(self) -> bool:
        return bool(_MASSES.search(self.text))

    @cached_property
    def physical(self) -> bool:
        """Whether a "how many" asks for a measure: dollars, tons, kilometers; a span of time may be a count."""
        found = re.search(r"\bhow many ((?:u\.?s\.? )?[^\W\d_]+)", self.text)
        return bool(found) and (found[1] in CURRENCIES or UNITS.get(found[1], "year") not in _SHORT_SPANS)

    @cached_property
    def silent(self) -> bool:
        """Whether the question names neither a magnitude nor percent, nor a measure that has neither."""
        named = bool(_NAMED.search(self.text)) or any(map(self._elsewhere, (languages.MAGNITUDE, languages.PERCENT)))
        return not named and not self.ratio and not _DIMENSION.search(self.text)

    @cached_property
    def measured(self) -> bool:
        """Whether what is asked for has a unit or a price, and so is no percentage."""
        price = _PRICE.search(self.text) and not _CHANGE.search(self.text)
        return bool(self.units or self.currencies or price)

    @cached_property
    def number(self) -> bool:
        return "number of" in self.text or "count of" in self.text

    @cached_property
    def label(self) -> bool:
        """ "Which bus line ...?": a number in reply is a name."""
        found = _ASKED_FOR.match(self.text)
        if not found or found[1] == "what":
            return False
        return not _MEASURE.search(found[2] if found[2].strip() else self.text)

    @cached_property
    def measure(self) -> bool:
        """Whether a number with a unit in reply can be a measured one: "What was the weight ...?"."""
        found = _HEAD.match(self.text) or _ASKED_FOR.match(self.text)
        asked_for = found[found.lastindex] if found else ""
        asked_for = asked_for if asked_for.strip() else self.text
        return self.text.startswith("how ") or bool(_MEASURE.search(asked_for) or _MEASURED.search(asked_for))

    @cached_property
    def scale(self) -> int:
        """6 for "in millions", else 0."""
        return next((SCALES[m[1] or m[2]] for m in _SCALE.finditer(self.text) if (m[1] or m[2]) in SCALES), 0)

    @cached_property
    def words(self) -> frozenset[str]:
        """What may stand beside a number in the reply: "12 bars"."""
        return frozenset(stem(word) for word in self._list_of_words if word not in _LINKING)

    @cached_property
    def units(self) -> frozenset[str]:
        ages = {"year", "month", "week", "day"} if _AGE.search(self.text) else set()
        return frozenset(_units(self.text)) | ages

    @cached_property
    def currencies(self) -> frozenset[str]:
        words = self._list_of_words
        if self.text.isascii() and "$" not in self.text and _CURRENCY_WORDS.isdisjoint(words):
            return frozenset()
        found = {CURRENCIES[match[1] or match[0]] for match in _CURRENCY.finditer(self.text)}
        return frozenset(found | ({"GBP"} if "pounds" in words or "pound" in words else set()))

    def in_order(self, count: int, text: bool) -> bool:
        """Whether `count` things are asked for one by one: "the mean and the median", "A, B and C respectively".

        Names (`text`) have an order only where the question contrasts what they are the names of.
        """
        if self.ordered:
            return True
        if text:
            return bool(_CONTRAST.search(self.text)) and not _SET.search(self.text)
        return len(_JOINED.findall(_BETWEEN.sub("", self.text))) + 1 >= count and not _SET.search(self.text)


@lru_cache(maxsize=1 << 10)
def read_question(question: str) -> Asked:
    return Asked(question)


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
        if match[1] and words and words[0] in _SPANS:
            continue
        for count in range(min(3, len(words)), 0, -1):
            unit = " ".join(words[:count])
            if unit in UNITS:
                yield canonical_unit(unit)
                break
