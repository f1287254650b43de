"""The content of `\\boxed{...}`, in completions and in the worked solutions of mathematical data."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # a brace behind a backslash is a character of the text
_ONE = re.compile(r"\\[A-Za-z]+|[^\s{}\\$]+")


def last_boxed(text: str) -> str | None:
    """What the last complete box holds, stripped; None without one, or where that is nothing.

    `\\fbox` counts, and so does a box without braces, `\\boxed 5`, which holds the next word.
    """
    for begin in reversed(list(_BOX.finditer(text))):
        content = _content(text, begin.end())
        if content is not None:
            return content.strip() or None
    return None


def _content(text: str, start: int) -> str | None:
    if not text.startswith("{", start):
        word = _ONE.match(text, start)
        return word and word[0]
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start + 1 : brace.start()]
    return None
