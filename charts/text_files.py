"""Rows from text files: JSON, JSON lines and CSV, with every value as the file has it.

Nothing is guessed about a column from its other rows: a CSV cell is text (007, NA, 1e5, True), a number in JSON is
that number. Text is UTF-8, or what a byte order mark at its beginning says.
"""

import codecs
import csv
import io
import json
from pathlib import Path

TEXT_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class BadText(ValueError):
    """A text file that cannot be read; the message names it."""


def read_rows(file: Path, key: str = "data", encoding: str | None = None) -> list[dict]:
    """The rows of a text file; `key` names the list inside a JSON file that is one object, `encoding` that of a file
    of its kind which is not UTF-8.

    A row that is no object is {}: it is the caller's to refuse. `BadText` names the file, and the line where it can.
    """
    try:
        text = decoded(file)
    except BadText:
        if encoding is None:
            raise
        text = file.read_text(encoding=encoding)
    return _csv_rows(text, file) if file.suffix in (".csv", ".tsv") else _json_rows(text, file, key)


def decoded(file: Path) -> str:
    """The text of `file`; `BadText` for what is neither UTF-8 nor marked."""
    content = file.read_bytes()
    mark, encoding = next((pair for pair in MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        guess = "UTF-16 without a mark" if b"\0" in content[:1000] else "GBK, Latin-1 or Windows-1252"
        said = f"byte 0x{error.object[error.start]:02x} in line {line} is not {encoding.upper()}"
        way_out = "" if mark else f"; if it is {guess}, convert it, such as by iconv -f NAME -t UTF-8"
        raise BadText(f"{file}: {said}{way_out}") from None
    if "\0" in text[:1000]:
        raise BadText(f"{file}: has zero bytes: if it is UTF-16 without a mark, convert it to UTF-8")
    return text


def parsed(text: str | bytes, where: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadText(f"{where}: not JSON ({error})") from None


def _json_rows(text: str, file: Path, key: str) -> list[dict]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        if file.suffix == ".json" and not text.lstrip().startswith("{"):
            raise BadText(f"{file}: not JSON ({error})") from None
        lines = enumerate(text.split("\n"), 1)  # not splitlines: a JSON string may hold U+2028
        records = [parsed(line, f"{file}, line {number}") for number, line in lines if line.strip()]
    if isinstance(records, dict):
        records = records[key] if isinstance(records.get(key), list) else [records]
    if not isinstance(records, list):
        raise BadText(f"{file}: holds no list of rows")
    return [row if isinstance(row, dict) else {} for row in records]


def _csv_rows(text: str, file: Path) -> list[dict]:
    limit = csv.field_size_limit(max(len(text), 131_072))  # a cell may be a table, or a picture as text
    try:
        separator = "\t" if file.suffix == ".tsv" else ","
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [name.strip() for name in next(lines, [])]
        _check_header(header, file)
        rows = []
        for cells in lines:
            if len(cells) > len(header):
                raise BadText(f"{file}, line {lines.line_num}: {len(cells)} cells, and {len(header)} columns")
            if cells:
                rows.append(dict.fromkeys(header) | {n: cell or None for n, cell in zip(header, cells, strict=False)})
        return rows
    except csv.Error as error:
        raise BadText(f"{file}, line {lines.line_num}: not CSV ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _check_header(header: list[str], file: Path) -> None:
    """`BadText` for columns that are not separated by commas (as spreadsheets write them where 3,5 is a number)."""
    for mark, name in SEPARATORS.items():
        if len(header) == 1 and mark in header[0]:
            raise BadText(
                f"{file}: its columns are separated by {name} ({mark!r}): save it with commas, and numbers with points"
            )
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice:
        raise BadText(f"{file}: two columns are called {twice!r}")
