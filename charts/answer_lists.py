"""Lists as people write them: brackets or none, quotes or none, commas, semicolons, "and"."""

import json
import re
from collections.abc import Iterator, Sequence

from charts.spelling import tidy
from charts.values import python_literal

MAX_ITEMS = 100
_HARD = re.compile(r"\s*[;|]\s*")
_BULLET = re.compile(r"[-*\u2022\u2013]\s+")  # the blank parts it from the sign of a number
_COMMA_SPACE = re.compile(r",\s+")
_COMMA = re.compile(r",")
_AND = re.compile(r"\s*(?:,\s*)?(?:\band\b|&)\s*", re.IGNORECASE)


def read_list(text: str) -> list[str]:
    """The items of a gold list: "[a, b]", "['a', 'b']", "a, b", "a and b"."""
    return next(_splits(text), [])


def written(items: Sequence) -> str:
    """The items as one gold: "[a, b]", with quotes where they would otherwise be read as other items."""
    texts = list(map(str, items))
    plain = f"[{', '.join(texts)}]"
    return plain if read_list(plain) == texts else json.dumps(texts, ensure_ascii=False)


def splits(text: str, count: int) -> Iterator[list[str]]:
    """The ways to read `text` as exactly `count` items."""
    return (items for items in _splits(text) if len(items) == count)


def on_one_line(text: str) -> str:
    """ "a; b" of a text with an item on each line, with bullets before all of them or none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(map(_BULLET.match, lines)):
        lines = [_BULLET.sub("", line, count=1) for line in lines]
    return "; ".join(lines)


def _splits(text: str) -> Iterator[list[str]]:
    """Ways to split, the most explicit first."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        quoted = text[1:].lstrip()[:1] in ("'", '"')
        thousands = not quoted and re.search(r"\d,\d{3}(?!\d)", text) and ", " in text  # [1,234, 5] is a list of two
        if not thousands and (items := _literal(text)) is not None:
            yield items
        text = text[1:-1]
    elif text.startswith("(") and text.endswith(")") and "(" not in text[1:] and ")" not in text[:-1]:
        text = text[1:-1]
    for pattern in (_HARD, _COMMA_SPACE, _COMMA):
        items = _clean(pattern.split(text))
        if len(items) > 1:
            yield items
            last = _AND.split(items[-1], maxsplit=1)
            if len(last) == 2:  # "a, b and c", "a, b, and c"
                yield _clean([*items[:-1], *last])
    items = _clean(_AND.split(text))
    yield items if len(items) > 1 else _clean([text])


def _literal(text: str) -> list[str] | None:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = python_literal(text)
    if isinstance(items, list) and all(isinstance(item, (str, int, float)) for item in items):
        return _clean(list(map(str, items)))
    return None


def _clean(items: list[str]) -> list[str]:
    items = [tidy(item) for item in items[: MAX_ITEMS + 1]]
    return [item for item in items if item]
