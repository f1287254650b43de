"""File layouts in which some data sets are published: rows read from their JSON, images named by path.

Each reader takes a folder and a split, and yields rows like those of the hub with `image` as a path inside the folder;
it returns None when the folder does not have that layout.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from charts.images import inside

SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


def chartqa(folder: Path, split: str) -> Iterator[dict] | None:
    """{train,val,test}/{split}_{human,augmented}.json beside png/, tables/ and annotations/."""
    root = folder / "ChartQA Dataset" if (folder / "ChartQA Dataset").is_dir() else folder
    for name in SPLITS.get(split, (split,)):
        files = [(kind, root / name / f"{name}_{kind}.json") for kind in ("human", "augmented")]
        if files := [(kind, file) for kind, file in files if file.is_file()]:
            return _chartqa_rows(folder, files)
    return None


def _chartqa_rows(folder: Path, files: list[tuple[str, Path]]) -> Iterator[dict]:
    for kind, file in files:
        for row in _records(file):
            name = str(row.get("imgname") or "")
            stem = Path(name).stem
            yield {
                **row,
                "human_or_machine": kind,
                "image": _named(folder, file.parent / "png", name),
                "table": _csv_table(file.parent / "tables", f"{stem}.csv"),
                "chart_type": _annotated_type(file.parent / "annotations", f"{stem}.json"),
            }


def _csv_table(folder: Path, name: str) -> dict | None:
    try:
        with inside(folder, name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error):
        return None
    return {"columns": rows[0], "rows": rows[1:]} if len(rows) > 1 else None


def _annotated_type(folder: Path, name: str) -> str | None:
    try:
        annotation = json.loads(inside(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    return kind if isinstance(kind, str) else None


def plotqa(folder: Path, split: str) -> Iterator[dict] | None:
    """plotqa-qa-{split}.json, or qa_pairs_*.json inside the split's folder, beside png/{image_index}.png."""
    for name in SPLITS.get(split, (split,)):
        for place in (folder, folder / name, folder / name.upper()):
            files = [place / f"plotqa-qa-{name}.json", *sorted(place.glob("qa_pairs*.json")) * (place != folder)]
            if files := [file for file in files if file.is_file()]:
                return _plotqa_rows(folder, files, name)
    return None


def _plotqa_rows(folder: Path, files: list[Path], split: str) -> Iterator[dict]:
    for file in files:
        candidates = (file.parent / "png", folder / split / "png", folder / "png" / split)
        images = next((path for path in candidates if path.is_dir()), file.parent / "png")
        for row in _records(file, "qa_pairs"):
            yield {**row, "image": _named(folder, images, f"{row['image_index']}.png" if "image_index" in row else "")}


def chartfc(folder: Path, split: str) -> Iterator[dict] | None:
    """{train,valid,test}_barplot_seaborn_*.json beside a folder of images."""
    for name in SPLITS.get(split, (split,)):
        if files := sorted(folder.rglob(f"{name}_barplot_seaborn_*.json")):
            return _chartfc_rows(folder, files)
    return None


def _chartfc_rows(folder: Path, files: list[Path]) -> Iterator[dict]:
    places: dict[str, Path] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            places.setdefault(path.name, path.parent)
    for file in files:
        for row in _records(file):
            name = str(row.get("image_filename") or "")
            yield {**row, "image": _named(folder, places.get(name, file.parent), name)}


def jsonl(folder: Path, split: str) -> Iterator[dict] | None:
    """{split}.jsonl (or questions.jsonl, for every purpose), one row a line, images by path inside the folder."""
    for name in (*SPLITS.get(split, (split,)), "questions"):
        file = folder / f"{name}.jsonl"
        if file.is_file():
            return _jsonl_rows(file)
    return None


def _jsonl_rows(file: Path) -> Iterator[dict]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _parsed(line, f"{file}, line {number}")
                yield row if isinstance(row, dict) else {}


def _parsed(content: bytes, where: str):
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None


def _records(file: Path, key: str | None = None) -> list[dict]:
    records = _parsed(file.read_bytes(), str(file))
    if isinstance(records, dict):
        records = records.get(key or "data", [])
    if not isinstance(records, list):
        raise ValueError(f"{file}: holds no list of rows")
    return [row if isinstance(row, dict) else {} for row in records]


def _named(folder: Path, images: Path, name: str) -> str | None:
    """The image's path relative to `folder`; a name that leads out of `images` stays as it is, to be refused later."""
    if not name:
        return None
    path = images / name
    return (
        str(path.relative_to(folder)) if ".." not in Path(name).parts and path.is_relative_to(folder) else f"../{name}"
    )
