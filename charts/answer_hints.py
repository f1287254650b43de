"""What a question asks for: a year, a count, a percentage, millions, kilograms, an order.

English is read (`wording`); of other languages the words of `languages` alone.
"""

import re
from functools import cached_property, lru_cache

from charts import languages, wording
from charts.quantities import CURRENCIES, SCALES, UNITS, canonical_unit, take
from charts.spelling import tidy

MAX_READ = 2_000  # characters: of a longer question the first and the last thousand are read

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


def _says(pattern: re.Pattern[str], elsewhere: re.Pattern[str] | None = None) -> cached_property[bool]:
    """Whether `pattern` is in the question, or `elsewhere` in one of another language."""
    return cached_property(
        lambda asked: bool(pattern.search(asked.text)) or bool(elsewhere and asked._elsewhere(elsewhere))
    )


def _has_word(*words: str) -> cached_property[bool]:
    return cached_property(lambda asked: not set(words).isdisjoint(asked._list_of_words))


class AnswerHints:
    """What one question asks for. Every item is read when it is first needed."""

    how_many = _says(wording.HOW_MANY, languages.HOW_MANY)
    percent = _says(wording.PERCENT, languages.PERCENT)
    ordered = _says(wording.ORDER)
    masses = _says(wording.MASSES)
    numbered = _says(wording.NUMBERED)
    written = _says(wording.WRITTEN)
    month = _says(re.compile("month|quarter"))
    number = _says(re.compile("(?:number|count) of"))
    ratio = _has_word("ratio")
    range = _has_word("range")
    age = _has_word("age", "ages", "aged", "old", "older")

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
    def year(self) -> bool:
        return (bool(wording.YEAR.search(self.text)) or self._elsewhere(languages.YEAR)) and not (
            self.how_many or self.text.startswith("how much")
        )

    @cached_property
    def season(self) -> bool:
        """Whether "18/19" in the answer is a season rather than a fraction or a day."""
        if {"date", "dates", "day"}.isdisjoint(self._list_of_words):
            return self.year or self.label or bool(wording.SEASON.search(self.text)) or not self.measure
        return False

    @cached_property
    def counted(self) -> bool:
        """Whether a "how many" asks for what can be counted, not for a number of millions or percent."""
        named = wording.READ_FROM_AXIS.search(self.text)
        return self.how_many and not named and not self._how_many_in(languages.MAGNITUDE, languages.PERCENT)

    def _how_many_in(self, *tables: re.Pattern[str]) -> bool:
        asked = languages.HOW_MANY.search(self.text) if _ENGLISH.isdisjoint(self._list_of_words) else None
        behind = self.text[asked.end() : asked.end() + 20] if asked else ""
        return any(table.search(behind) for table in tables)

    @cached_property
    def physical(self) -> bool:
        """Whether a "how many" asks for a measure: dollars, tons, kilometers; a span of time may be a count."""
        found = re.search(r"\bhow many ((?:u\.?s\.? )?[^\W\d_]+)", self.text)
        return found is not None and (found[1] in CURRENCIES or UNITS.get(found[1], "year") not in wording.SHORT_SPANS)

    @cached_property
    def silent(self) -> bool:
        """Whether the question names neither a magnitude nor percent, nor a measure that has neither."""
        named = bool(wording.NAMED.search(self.text)) or any(
            map(self._elsewhere, (languages.MAGNITUDE, languages.PERCENT))
        )
        return not named and not self.ratio and not wording.DIMENSION.search(self.text)

    @cached_property
    def measured(self) -> bool:
        """Whether what is asked for has a unit or a price, and so is no percentage."""
        rate = wording.PER.search(self.text) and not wording.CHANGE.search(self.text)
        return bool(self.units or self.currencies or self.price or rate)

    @cached_property
    def price(self) -> bool:
        return bool(wording.PRICE.search(self.text)) and not wording.CHANGE.search(self.text)

    @cached_property
    def label(self) -> bool:
        """Whether a number in the answer is a name: "Which bus line ...?"."""
        found = wording.ASKED_FOR.match(self.text)
        if self.numbered or not found or found[1] == "what":
            return self.numbered
        return not wording.MEASURE.search(found[2] if found[2].strip() else self.text)

    @cached_property
    def placed(self) -> bool:
        """Whether a place in a row of whole numbers is asked for: "What week ...?", "At what age ...?"."""
        found = wording.ASKED_FOR.match(self.text)
        named = found and wording.PLACED.fullmatch(found[2])
        return bool(named) and not wording.MEASURE.search(found[2] if found else "")

    @cached_property
    def _asked_for(self) -> str:
        """ "average weight" of "What is the average weight of the fish?"; empty where it cannot be told."""
        found = wording.HEAD.match(self.text) or wording.ASKED_FOR.match(self.text)
        return found[found.lastindex or 0].strip() if found else ""

    @cached_property
    def measure(self) -> bool:
        """Whether a number with a unit in the answer can be a measured one: "What was the weight ...?"."""
        asked_for = self._asked_for or self.text
        named = wording.MEASURE.search(asked_for) or wording.MEASURED.search(asked_for)
        return self.text.startswith("how ") or bool(named) or not self.text

    @cached_property
    def thing(self) -> bool:
        """Whether something with a name is asked for: "What company ...?"."""
        return bool(self._asked_for) and not self.measure

    @cached_property
    def scale(self) -> int:
        """6 for "in millions", else 0."""
        return next((SCALES[m[1] or m[2]] for m in wording.SCALE.finditer(self.text) if (m[1] or m[2]) in SCALES), 0)

    @cached_property
    def words(self) -> frozenset[str]:
        """What may stand beside a number in the reply: "12 bars"."""
        return frozenset(stem(word) for word in self._list_of_words if word not in _LINKING)

    @cached_property
    def units(self) -> frozenset[str]:
        ages = {"year", "month", "week", "day"} if wording.AGE.search(self.text) else set()
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
            return bool(wording.CONTRAST.search(self.text)) and not wording.SET.search(self.text)
        return len(wording.JOINED.findall(wording.BETWEEN.sub("", self.text))) + 1 >= count and not wording.SET.search(
            self.text
        )


@lru_cache(maxsize=1 << 10)
def read_question(question: str) -> AnswerHints:
    return AnswerHints(question)


def stem(word: str) -> str:
    """Singular and plural alike: "countries" and "country", "boxes" and "box"."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def beside_number(text: str, asked: AnswerHints) -> bool:
    """Whether these words may stand behind a number: all of them are words of the question."""
    return all(word not in _LINKING and stem(word) in asked.words for word in _WORDS.findall(text))


def _units(text: str):
    for match in wording.UNIT.finditer(text):
        words = (match[1] or match[2] or match[3] or match[4]).split()
        while words and words[0] in SCALES:
            words = words[2:] if words[1:2] == ["of"] else words[1:]
        if match[1] and words and words[0] in wording.SPANS:
            continue
        unit, _ = take(" ".join(words), UNITS)
        if unit:
            yield canonical_unit(unit)
