"""The tables of docs/organism.md from the counts kept beside it: `python -m organism.tables` prints them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from organism.answering import FLAWED, OTHER, PROCEDURES
from organism.figures import KS, Row, majority, pass_at, right_when, scored, share

FOLDER = Path(__file__).parent.parent / "docs" / "organism"


def kept(name: str) -> dict:
    """What organism.measure wrote of a model, its rows as `Row`."""
    whole = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return whole | {"rows": [Row(**row) for row in whole["rows"]]}


def line(*cells: object) -> str:
    return f"| {' | '.join(f'{cell:.1f}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


def of_base(base: dict) -> Iterator[str]:
    """Targets, Pass@k and shares of the untrained model."""
    for target in base["targets"]:
        yield line(target["name"], target["wanted"], target["value"])
    parts = {mark: [row for row in base["rows"] if row.marked == (mark == "marked")] for mark in ("plain", "marked")}
    for mark, rows in parts.items():
        yield line(mark, *(pass_at(k, rows) for k in KS), majority(rows))
    for mark, rows in parts.items():
        yield line(f"flawed ways alone, {mark}", *(pass_at(k, rows, (*FLAWED, OTHER)) for k in KS), "")
    for way in (*PROCEDURES, OTHER):
        cells = []
        for rows in parts.values():
            known, right = scored(rows, way), right_when(rows, way)
            cells += [share(rows, way), "" if known != known else known, "" if right != right else right]  # no NaN
        yield line(way, *cells)


def main() -> int:
    for text in of_base(kept("base")):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
