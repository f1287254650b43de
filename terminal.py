"""Text on its way to a terminal or a log: names, answers and messages that users, data sets and models have written."""

from __future__ import annotations

import re
import unicodedata
import warnings

# Control characters, invisible marks that turn the direction of text, halves of characters, line separators.
ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
CREDENTIALS = re.compile(r"(\w+://)[^/\s@]*@")  # https://user:token@host


def printable(text: object) -> str:
    """`text` on one line that moves no cursor, colours nothing and names no password of an address.

    A new line is written \\n and an escape character \\x1b, so that a name can neither forge a line of a log nor reach
    the terminal; what stands before the @ of an address becomes ***.
    """
    escaped = (
        one.encode("unicode_escape", "surrogatepass").decode() if unicodedata.category(one) in ESCAPED else one
        for one in str(text)
    )
    return CREDENTIALS.sub(r"\1***@", "".join(escaped))


def hide_deprecations() -> None:
    """TRL 1.16 and PEFT 0.21 use the old names of activation checkpointing, which is not the user's to act on."""
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated", category=FutureWarning)
