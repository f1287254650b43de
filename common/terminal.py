"""The terminal: text on its way to it or to a log (names, answers and messages that users, data sets and models have
written), and output that cannot fail."""

import logging
import os
import re
import sys
import unicodedata
import warnings
from contextlib import suppress
from pathlib import Path

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


def first_line(error: BaseException) -> str:
    """What an error says, in short; the name of its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Unfailing:
    """A stream on which a failed write is lost, and nothing else: a run does not end because its log cannot grow, its
    terminal is gone, or the program that read its output has ended."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def unfailing_output() -> None:
    """Makes what is printed no reason to end: a character that the terminal's encoding lacks is escaped (\\u2713), and
    a write that fails is lost. A stream that was closed before the program began becomes one that nobody reads."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (to the end)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Unfailing(stream))


def hide_deprecations() -> None:
    """TRL 1.16 and PEFT 0.21 use the old names of activation checkpointing, which is not the user's to act on; nor is
    what bitsandbytes, which PEFT imports where it is installed, says of a package that it does without."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated", category=FutureWarning)
