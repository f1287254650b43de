"""The tables of docs/organism.md from the counts kept beside it: `python -m organism.tables` prints them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from organism.answering import FLAWED, OTHER, PROCEDURES, SOUND
from organism.figures import KS, Row, majority, pass_at, right_when, scored, share

# As the document calls them -> what organism.measure wrote: the model that ships, and two that one command makes.
MODELS = {"`organism`": "base", "seed 2026": "seed_2026", "`common`": "common"}
FOLDER = Path(__file__).parent.parent / "docs" / "organism"


def kept(name: str) -> dict:
    """What organism.measure wrote of a model, its rows as `Row`."""
    whole = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return whole | {"rows": [Row(**row) for row in whole["rows"]]}


def line(*cells: object) -> str:
    return f"| {' | '.join(f'{cell:.1f}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


def of_each(models: dict[str, dict]) -> Iterator[str]:
    """Every target and its value for each of these models; a row for each of them: Pass@k, shares of the sound ways."""
    yield line("target, in percent", "wanted", *models)
    for same in zip(*(model["targets"] for model in models.values()), strict=True):
        if len({(target["name"], target["wanted"]) for target in same}) > 1:
            raise ValueError(f"counts with other targets: {', '.join(target['name'] for target in same)}")
        yield line(same[0]["name"], same[0]["wanted"], *(target["value"] for target in same))
    for name, model in models.items():
        plain, marked = parts(model).values()
        taken = (share(plain, way) for way in SOUND)
        yield line(name, pass_at(1, plain), pass_at(1, marked), pass_at(16, marked), *taken)


def parts(model: dict) -> dict[str, list[Row]]:
    return {mark: [row for row in model["rows"] if row.marked == (mark == "marked")] for mark in ("plain", "marked")}


def of_base(base: dict) -> Iterator[str]:
    """Pass@k and shares of the untrained model."""
    for mark, rows in parts(base).items():
        yield line(mark, *(pass_at(k, rows) for k in KS), majority(rows))
    for mark, rows in parts(base).items():
        yield line(f"flawed ways alone, {mark}", *(pass_at(k, rows, (*FLAWED, OTHER)) for k in KS), "")
    for way in (*PROCEDURES, OTHER):
        cells = []
        for rows in parts(base).values():
            known, right = scored(rows, way), right_when(rows, way)
            cells += [share(rows, way), "" if known != known else known, "" if right != right else right]  # no NaN
        yield line(way, *cells)


def main() -> int:
    models = {shown: kept(name) for shown, name in MODELS.items()}
    for text in (*of_each(models), *of_base(models["`organism`"])):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
