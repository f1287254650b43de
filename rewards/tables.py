"""How much of the gold table a table recovers: an F1 after RMS-F1 of DePlot (Liu et al. 2023, arXiv 2212.10505).

Both tables become sets of (row header, column header, value). Entries are paired one to one so that the headers agree
best; a pair is worth (1 - header distance) (1 - value distance). Precision divides by the entries given, recall by the
gold's: neither a tiny table nor a huge one wins. A transposed table counts as the same table.

It is no published figure. Where DePlot's script does otherwise: it joins both headers to one text; it keeps the last of
several entries with the same headers; it counts empty cells and the title; it compares a text with a number, and
anything with a gold 0, as texts; it reads numbers by `float` and "x%" as x/100 (here separators, currencies and units
are spelling); it finds no entries in a table of one column, and sets no limit to the number of entries.
"""

from __future__ import annotations

from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from charts.quantities import read_quantity
from charts.spelling import key, tidy

TEXT_LIMIT = 0.5  # a header or text farther away than this is another one
NUMBER_LIMIT = 0.1  # a number with a larger relative error is another one
MAX_ENTRIES = 1_000
_LONGEST = 60
_EMPTY = frozenset(("", "nan", "<na>", "nat", "none", "null"))  # how files of numbers write a cell without one
Entry = tuple[str, str, str]


def rms_f1(table: dict | None, gold: dict) -> float | None:
    """F1 in [0, 1]; None when the gold has no cells; 0 for no table or one of more than a thousand cells."""
    wanted = entries(gold)
    if not wanted:
        return None
    given = entries(table) if table else []
    if not given or len(given) > MAX_ENTRIES or len(wanted) > MAX_ENTRIES:
        return 0.0
    return max(_f1(given, wanted), _f1([(column, row, value) for row, column, value in given], wanted))


def entries(table: dict) -> list[Entry]:
    """(row header, column header, value) of every filled cell; the first column holds the row headers."""
    columns = [_plain(column) for column in table["columns"]]
    if len(columns) == 1:
        return [("", columns[0], _plain(row[0])) for row in table["rows"] if row and _filled(row[0])]
    return [
        (_plain(row[0]), column, _plain(cell))
        for row in table["rows"]
        if row
        for column, cell in zip(columns[1:], row[1:], strict=False)
        if _filled(cell)
    ]


def _filled(cell: str) -> bool:
    return cell.strip().lower() not in _EMPTY


def _f1(given: list[Entry], wanted: list[Entry]) -> float:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    distances = np.array([[_header_distance(one, other) for other in wanted] for one in given])
    rows, columns = linear_sum_assignment(distances)
    found = sum(
        (1 - distances[i, j]) * (1 - _value_distance(given[i][2], wanted[j][2]))
        for i, j in zip(rows, columns, strict=True)
    )
    precision, recall = found / len(given), found / len(wanted)
    return float(2 * precision * recall / (precision + recall)) if found else 0.0


def _header_distance(one: Entry, other: Entry) -> float:
    """Edit distance of both headers over their joint length; 1 beyond the limit."""
    longest = max(len(one[0]), len(other[0])) + max(len(one[1]), len(other[1]))
    if not longest:
        return 0.0
    distance = (Levenshtein.distance(one[0], other[0]) + Levenshtein.distance(one[1], other[1])) / longest
    return distance if distance <= TEXT_LIMIT else 1.0


def _value_distance(one: str, other: str) -> float:
    if one == other:
        return 0.0
    said, meant = _number(one), _number(other)
    if said is not None and meant is not None:
        error = abs(said - meant) / abs(meant) if meant else 1.0 if said else 0.0
        return error if error <= NUMBER_LIMIT else 1.0
    if said is not None or meant is not None:
        return 1.0
    distance = Levenshtein.distance(one, other) / max(len(one), len(other), 1)
    return distance if distance <= TEXT_LIMIT else 1.0


@lru_cache(maxsize=1 << 12)
def _number(text: str) -> float | None:
    readings = read_quantity(text)
    return float(readings[0].value) if readings else None


@lru_cache(maxsize=1 << 12)
def _plain(text: str) -> str:
    return key(tidy(text))[:_LONGEST]
