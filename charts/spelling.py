"""Spellings that do not matter: Unicode, quotes, white space, case, articles, a final full stop; number words."""

import re
import unicodedata

from charts.markup import plain

_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_HIDDEN = re.compile(rf"(\d[{_INVISIBLE}]+(?=\d))|[{_INVISIBLE}]+")  # between two digits it stands for a separator
_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201b\u2032\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f\uff62\uff63", '"'),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u3002\uff61\u0964\u06d4", "."),
    **dict.fromkeys("\u3001\uff64\u060c", ", "),
    **dict.fromkeys("\u3010\u3014", "["),
    **dict.fromkeys("\u3011\u3015", "]"),
    **dict.fromkeys("\u2217\u204e", "*"),
    "\u061b": ";",
    "\u066a": "%",
    "\u066b": ".",
    "\u066c": ",",
    "\u2044": "/",
    "\u2236": ":",
    "\u2248": "~",
    "\u301c": "~",
}
_WRAPPERS = {  # by the first character, outermost first
    "*": (("**", "**"), ("*", "*")),
    "`": (("`", "`"),),
    '"': (('"', '"'),),
    "'": (("'", "'"),),
    "$": (("$", "$"),),
}
_STOPS = frozenset(".;,!")
_LAYERS = 20  # of quotes, emphasis and stops around one answer
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_INITIAL = re.compile(r"(?<![^\W\d_])([^\W\d_])\.(?=[^\W\d_](?![^\W\d_]))")  # U.S. is US
_DASH = re.compile(r"(?<=\S)\s*-\s*(?=\S)")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_SLASH = re.compile(r"\s*/\s*")
_AMPERSAND = re.compile(r"\s*&\s*")
_LABEL = re.compile(
    r"(?:so |thus |therefore,? )?(?:(?:the )?(?:final |correct )?answer(?: is| was)?|(?:it|there) (?:is|was|are|were))"
    r"(?:\s*[:=]\s*|\s+)(?=\S)",
    re.IGNORECASE,
)
_LABEL_STARTS = frozenset("sStTfFcCaAiI")
_RAISED = "\u2070\u00b9\u00b2\u00b3\u2074-\u2079"
_RAISE = re.compile(  # 1.2 × 10⁶, 10⁶; "10²" alone may be 10 with a footnote
    rf"(?:(?<=[xX×·⋅*]10)|(?<=[xX×·⋅*] 10)|(?<=^10)(?!\u00b2\s*$))([\u207a\u207b]?)([{_RAISED}]+)"
)
_SQUARE = re.compile(r"(?<=[^\W\d_])\^([23])(?!\d)")
_BESIDE_LETTER = re.compile(rf"(?<=[^\W\d_])[\u2080-\u2089{_RAISED}]+")
_FOOTNOTE = re.compile(
    r"(?:(?<=\w\w)|(?<=\d)|(?<=[%)]))\.?\s?[*\u2020\u2021\u00a7\u00b6]+$"
    rf"|(?<=[^\W\d_]{{4}})[{_RAISED}]+$|(?<=\b[12]\d{{3}})[{_RAISED}]$"
    r"|(?<=\w\w)[*\u2020\u2021]+(?=[\s,;/)])"
)
_ESTIMATE = re.compile(r"(\d{4}) ?(?:[efp]|\((?:[efp]|est\.?|estimated?|forecast|projected)\))", re.IGNORECASE)


def tidy(text: str) -> str:
    """One line in one Unicode spelling, without wrapping quotes, emphasis or math marks, and without a final stop."""
    if not text.isascii():
        text = "".join(map(_same, unicodedata.normalize("NFC", _HIDDEN.sub(lambda match: match[1] or "", text))))
        text = _RAISE.sub(lambda m: "^" + ("-" if m[1] == "\u207b" else "") + unicodedata.normalize("NFKC", m[2]), text)
    text = " ".join(text.split())
    if "\\" in text or "{" in text or "<" in text or "**" in text or "_" in text:
        text = plain(text)
    if "^" in text:
        text = _SQUARE.sub(lambda m: "\u00b2" if m[1] == "2" else "\u00b3", text)
    for _ in range(_LAYERS):
        if text[:1] not in _WRAPPERS and text[-1:] not in _STOPS:
            break
        before = text
        for left, right in _WRAPPERS.get(text[:1], ()):
            inner = text[len(left) : -len(right)]
            if inner and text.startswith(left) and text.endswith(right) and left not in inner and right not in inner:
                text = inner.strip()
        if len(text) > 1 and text[-1] in _STOPS and text[-2] not in _STOPS:
            text = text[:-1].rstrip()
        if text == before:
            break
    return text


def unmarked(text: str) -> str:
    """The tidy text without footnote marks: "2026*" is 2026, "small bus*" is small bus; "A*" is a grade."""
    if text[:2] in ("19", "20") and len(text) > 4:
        estimate = _ESTIMATE.fullmatch(text)
        text = estimate[1] if estimate else text
    return text if text.isascii() and "*" not in text else _FOOTNOTE.sub("", text)


def unlabelled(text: str) -> str:
    """The text without "The answer is ..." before it."""
    label = _LABEL.match(text) if text[:1] in _LABEL_STARTS else None
    return tidy(text[label.end() :]) if label else text


def key(text: str) -> str:
    """What two spellings of one text share; `text` is tidy. Signs and digits are never lost."""
    text = text.casefold()
    if text.startswith("the ") and len(text) > 4:
        text = text[4:]
    if "grey" in text:
        text = text.replace("grey", "gray")
    if not text.isascii():
        text = _BESIDE_LETTER.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    if " %" in text:
        text = text.replace(" %", "%")
    if "," in text:
        text = _THOUSANDS.sub("", text)
    if "." in text:
        text = _INITIAL.sub(r"\1", text)
    if "-" in text:
        text = _BETWEEN_LETTERS.sub(" ", _DASH.sub("-", text))
    if "/" in text:
        text = _SLASH.sub("/", text)
    if "&" in text:
        text = _AMPERSAND.sub(" and ", text)
    return text


def _same(character: str) -> str:
    """Full-width and compatibility characters become plain; superscripts, fractions and circles keep their meaning."""
    if character in _SAME:
        return _SAME[character]
    if character.isascii():
        return character
    form = unicodedata.decomposition(character)
    if character.isdecimal():
        return str(unicodedata.digit(character))
    if form.startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    if form.startswith(("<wide>", "<narrow>", "<small>", "<compat>", "<noBreak>", "<font>")):
        return unicodedata.normalize("NFKC", character)
    return character


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: number for number, word in enumerate(_ONES.split())} | {
    word: 20 + 10 * i for i, word in enumerate(_TENS.split())
}
SMALL["fourty"] = 40
LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORD = re.compile(r"[\s-]*([a-z]+)")


def leading_number(text: str) -> tuple[str, str] | None:
    """("21", " bars") for "twenty-one bars": the longest run of number words at the start, and what follows it."""
    total = group = 0
    last: str | None = None  # the size of the last word: what may follow it
    position = end = 0
    below = 10**15  # a magnitude word must be smaller than the one before
    lowered = text.lower()
    while match := _WORD.match(lowered, position):
        word, joined = match[1], lowered[position : match.start(1)]
        if position and not joined:
            break
        if word == "and" and last in ("hundred", "large"):
            position, last = match.end(), "and" + last
            continue
        if word in SMALL:
            number = SMALL[word]
            fits = last in (None, "hundred", "large", "andhundred", "andlarge") or (last == "tens" and 0 < number < 10)
            if not fits or (number == 0 and last is not None):
                break
            group, last = group + number, "tens" if number >= 20 else "ones"
        elif word in ("a", "an") and last is None:
            group, last = 1, "article"
            position = match.end()
            continue
        elif word == "hundred" and last in ("ones", "article") and 0 < group < 10:
            group, last = group * 100, "hundred"
        elif word in LARGE and last in ("ones", "tens", "hundred", "article") and LARGE[word] < below and group:
            total, group, below, last = total + group * LARGE[word], 0, LARGE[word], "large"
        else:
            break
        position = end = match.end()
    return (str(total + group), text[end:]) if end else None
