"""Golds that a language model judges in a set's own evaluation: which of them an exact rule can decide on.

What it cannot is unscorable, by the gold alone: a rule that waited for the answer would count the right ones and leave
the wrong ones out.
"""

from __future__ import annotations

import re

NOTATION = re.compile(r"[\\^_${}\u00b1-\u00b3\u00b9\u00d7\u0370-\u03ff\u1d00-\u1dbf\u2070-\u209f\u2190-\u22ff]")
NOTATION_REASON = "mathematical notation, which can be written in several ways"
BRACKETED = re.compile(r"\([a-zA-Z0-9]\)\s+(\S.*)", re.DOTALL)  # (b) OPT
LONGEST_ITEM = 3  # words
MOST_ITEMS = 3
_BETWEEN = re.compile(r";\s*|,(?!\d{3}\b)\s*(?:and\s+)?")  # no comma of 15,000
_IN_WORDS = re.compile(
    r"\b(?:approximately|approx|about|around|roughly|nearly|almost|than|higher|lower|more|less|greater|fewer|increas\w*"
    r"|decreas\w*|peaks?|both|all|none|neither|the|is|are|was|were|has|have|had|by|from|it|they|same)\b|[≈~:]",
    re.IGNORECASE,
)


def short_items(gold: str) -> list[str]:
    """The items of a gold that is one short thing, or a few: "Gaming, blue". [] for a sentence and for words that say
    how, by how much or compared to what."""
    text = gold.strip().removesuffix(".")
    items = [item.strip() for item in _BETWEEN.split(text)]
    fits = all(0 < len(item.split()) <= LONGEST_ITEM for item in items) and len(items) <= MOST_ITEMS
    return items if fits and not _IN_WORDS.search(text) else []
