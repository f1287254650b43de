"""The values of a JSON list, of JSON lines or of one JSON object, one at a time: memory holds one, not the file."""

import json
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20
TAIL = 16  # an error this close to the end of what was read may be a value cut in two
SPACE = " \t\r\n"


class _Window:
    """A moving window of text over the file."""

    def __init__(self, file, path: Path):
        self.file, self.path = file, path
        self.text, self.at, self.passed = "", 0, 0

    def more(self) -> bool:
        """Read on, at least as much as is still unread: a value of any size is parsed a bounded number of times."""
        rest = self.text[self.at :]
        try:
            read = self.file.read(max(CHUNK, len(rest)))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is not UTF-8 text ({error.reason}): is it a samples file?") from None
        self.passed += self.at
        self.text, self.at = rest + read, 0
        return bool(read)

    def peek(self) -> str:
        """The next character that is not space, or "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self):
        """The JSON value that starts here."""
        decode = json.JSONDecoder().raw_decode
        while True:
            try:
                value, self.at = decode(self.text, self.at)
                return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - TAIL
                if cut and self.more():
                    continue
                if cut:
                    raise ValueError(f"{self.path} is truncated: it ends in the middle of a problem") from None
                place = self.passed + error.pos
                raise ValueError(f"{self.path} is not JSON at character {place}: {error.msg}") from None
            except RecursionError:
                raise ValueError(f"{self.path} nests too deeply at character {self.passed + self.at}") from None


def json_values(path: str | Path) -> Iterator:
    """Yield the items of a list, or each value of a file of JSON lines; ValueError for an empty or damaged file."""
    path = Path(path)
    with path.open(encoding="utf-8-sig") as file:
        window = _Window(file, path)
        first = window.peek()
        if not first:
            raise ValueError(f"{path} is empty")
        if first != "[":
            while window.peek():
                yield window.value()
            return
        window.at += 1
        if window.peek() == "]":
            raise ValueError(f"{path} is an empty list")
        while True:
            yield window.value()
            mark = window.peek()
            window.at += 1
            if mark == "]":
                break
            if mark not in ("", ","):
                place = window.passed + window.at - 1
                raise ValueError(f"{path} is not JSON at character {place}: ',' or ']' expected, found {mark!r}")
            if not mark or not window.peek():
                raise ValueError(f"{path} is truncated: the list is not closed")
        if window.peek():
            raise ValueError(f"{path} goes on after its list: are two files joined in it?")
