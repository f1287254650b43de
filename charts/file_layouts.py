"""File layouts in which some data sets are published: rows read from their JSON, images named by path.

Each reader takes a folder and a split, and yields rows like those of the hub with `image` as a path inside the folder;
it returns None when the folder does not have that layout. Rows without a file name of their own kind may name their
picture as `image`.
"""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from charts.columns import PICTURES
from charts.images import inside
from charts.local import SAME_SPLIT, aliases
from charts.own_columns import Columns
from charts.text_files import decoded, parsed, read_rows
from charts.values import plain

KEPT_FOR_EVALUATION = 0.2  # of the charts of a questions.jsonl that stands alone


def chartqa(folder: Path, split: str) -> Iterator[dict] | None:
    """{train,val,test}/{split}_{human,augmented}.json beside png/, tables/ and annotations/."""
    root = folder / "ChartQA Dataset" if (folder / "ChartQA Dataset").is_dir() else folder
    for name in aliases(split):
        files = [(kind, root / name / f"{name}_{kind}.json") for kind in ("human", "augmented")]
        if files := [(kind, file) for kind, file in files if file.is_file()]:
            return _chartqa_rows(folder, files)
    return None


def _chartqa_rows(folder: Path, files: list[tuple[str, Path]]) -> Iterator[dict]:
    for kind, file in files:
        for row in read_rows(file):
            name = str(row.get("imgname") or row.get("image") or "")
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
        rows = list(csv.reader(io.StringIO(decoded(inside(folder, name)), newline="")))
    except (OSError, ValueError, csv.Error):
        return None
    return {"columns": rows[0], "rows": rows[1:]} if len(rows) > 1 else None


def _annotated_type(folder: Path, name: str) -> str | None:
    try:
        annotation = parsed(decoded(inside(folder, name)), name)
    except (OSError, ValueError):
        return None
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    return kind if isinstance(kind, str) else None


def plotqa(folder: Path, split: str) -> Iterator[dict] | None:
    """plotqa-qa-{split}.json, or qa_pairs_*.json inside the split's folder, beside png/{image_index}.png."""
    for name in aliases(split):
        for place in (folder, folder / name, folder / name.upper()):
            pairs = sorted(place.glob("qa_pairs*.json")) * (place != folder)  # v1, and v2, which holds v1
            files = [place / f"plotqa-qa-{name}.json", *pairs[-1:]]
            if files := [file for file in files if file.is_file()]:
                return _plotqa_rows(folder, files, name)
    return None


def _plotqa_rows(folder: Path, files: list[Path], split: str) -> Iterator[dict]:
    for file in files:
        candidates = (file.parent / "png", folder / split / "png", folder / "png" / split)
        images = next((path for path in candidates if path.is_dir()), file.parent / "png")
        for row in read_rows(file, "qa_pairs"):
            index = row.get("image_index")
            name = str(row.get("image") or "") if index is None else f"{plain(index)}.png"
            yield {**row, "image": _named(folder, images, name)}


def chartfc(folder: Path, split: str) -> Iterator[dict] | None:
    """{train,valid,test}_barplot_seaborn_*.json beside a folder of images."""
    everything = list(_below(folder))
    for name in aliases(split):
        start = f"{name}_barplot_seaborn_"
        if files := sorted(path for path in everything if path.name.startswith(start) and path.suffix == ".json"):
            return _chartfc_rows(folder, files, everything)
    return None


def _below(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, in linked folders as well, each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if os.path.realpath(Path(place, name)) not in seen)
        yield from (Path(place, name) for name in sorted(names))


def chartinsights(folder: Path, split: str) -> Iterator[dict] | None:
    """*qa_pairs.json (UTF-8 or GBK), four forms of each question, and {image_index}.png or .jpg anywhere below."""
    files = sorted(path for path in _below(folder) if path.name.endswith("qa_pairs.json"))
    return _chartinsights_rows(folder, files) if files and split in aliases("test") else None


def _chartinsights_rows(folder: Path, files: list[Path]) -> Iterator[dict]:
    pictures = {path.stem: path for path in _below(folder) if path.suffix.lower() in (".png", ".jpg", ".jpeg")}
    for file in files:
        for pair in read_rows(file, encoding="gb18030"):
            picture = pictures.get(str(pair.get("image_index")))
            shared = {"type": pair.get("type"), "image_type": pair.get("image_type")}
            shared["image"] = str(picture.relative_to(folder)) if picture else None
            for form, (question, answer) in (one for forms in pair.get("QA_pairs") or [] for one in forms.items()):
                yield {**shared, "form": form, "question": question, "answer": answer}


def _chartfc_rows(folder: Path, files: list[Path], everything: list[Path]) -> Iterator[dict]:
    places: dict[str, Path] = {}
    for path in everything:
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            places.setdefault(path.name, path.parent)
    for file in files:
        for row in read_rows(file):
            name = str(row.get("image_filename") or row.get("image") or "")
            if name not in places and f"{name.removesuffix('.html.csv')}.png" in places:  # that of its table
                name = f"{name.removesuffix('.html.csv')}.png"
            yield {**row, "image": _named(folder, places.get(name, file.parent), name)}


def jsonl(folder: Path, split: str) -> Iterator[dict] | None:
    """{split}.jsonl, one row a line, images by path inside the folder; without it questions.jsonl, which serves
    training where there is no train.jsonl and evaluation where there is one."""
    for name in aliases(split):
        if (file := folder / f"{name}.jsonl").is_file():
            return iter(read_rows(file))
    file, for_training = folder / "questions.jsonl", not (folder / "train.jsonl").is_file()
    return iter(read_rows(file)) if file.is_file() and for_training == (split in SAME_SPLIT[0]) else None


def divided(folder: Path, columns: Columns) -> tuple[list[dict], list[dict], str] | None:
    """(training rows, evaluation rows, what to say about it) of a questions.jsonl without another split's file.

    All questions of a chart go to the same part, and the parts are the same for training and evaluation.
    """
    file = folder / "questions.jsonl"
    if not file.is_file() or any((folder / f"{name}.jsonl").is_file() for names in SAME_SPLIT for name in names):
        return None
    rows = columns.renamed(read_rows(file), str(file))
    names = [_chart_name(row) for row in rows]
    charts = sorted(set(names))
    if len(charts) < 2:
        return rows, rows, f"{file.name} holds one chart: training and evaluation share its questions"
    kept = set(charts[: max(1, round(KEPT_FOR_EVALUATION * len(charts)))])
    note = (
        f"{file.name} is the only file: {len(kept)} of its {len(charts)} charts are for evaluation, the others for "
        "training (with train.jsonl or test.jsonl beside it, it serves the other side whole)"
    )
    training, evaluation = (
        [row for row, name in zip(rows, names, strict=True) if (name in kept) == side] for side in (False, True)
    )
    return training, evaluation, note


def _chart_name(row: dict) -> str:
    """A hash of the name of the row's picture (of the row, where it has none): charts sorted by it are in no order."""
    picture = next((row[name] for name in PICTURES if row.get(name)), row)
    return hashlib.sha256(str(picture).encode("utf-8", "replace")).hexdigest()


def _named(folder: Path, images: Path, name: str) -> str | None:
    """The image's path relative to `folder`: in `images`, or below `folder` where only there is such a file. A name
    that leads out of `images` stays as it is, to be refused later."""
    if not name:
        return None
    path = images / name
    if ".." in Path(name).parts or not path.is_relative_to(folder):
        return f"../{name}"
    return str(Path(name) if not path.is_file() and (folder / name).is_file() else path.relative_to(folder))
