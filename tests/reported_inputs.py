"""What tests/test_reported_data.py is made of: inputs for an empty folder, and what is shown of the outcome."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from charts.loading import load_questions
from charts.record import QuestionSet
from tests.chart_copies import chartfc_files, chartqa_files, chartqa_test_only, png

Write = Callable[[Path], object]
GOOD = {"image": "0.png", "question": "How many bars?", "answer": "5"}
NAN = math.nan
UNUSABLE = "refused: custom: 1 of 1 rows cannot be used (more than 1 %): train row 0: "


@dataclass(frozen=True)
class Case:
    id: str
    write: Write
    show: Callable[[QuestionSet], object]
    old: str  # how the outcome began before
    right: str  # what it must have in it
    name: str = "custom"
    path: str = "."
    settings: dict = field(default_factory=dict)


def outcome(case: Case, folder: Path) -> str:
    """What loading the case's input gives, as text: what is shown of it, or the refusal."""
    case.write(folder)
    try:
        return str(case.show(load_questions(case.name, path=folder / case.path, **case.settings)))
    except ValueError as error:
        return f"refused: {error}"


# -- what is shown ----------------------------------------------------------------------------------------------------


def golds(found: QuestionSet) -> list:
    return [question.answers for question in found.questions]


def asked(found: QuestionSet) -> str:
    one = found.questions[0]
    return f"{one.question} {one.answers} {'picture' if one.open_image and one.open_image().size else 'no picture'}"


def notes(found: QuestionSet) -> list[str]:
    return found.notes


def size_and_notes(found: QuestionSet) -> tuple[int, list[str]]:
    return len(found), found.notes


def skipped(found: QuestionSet) -> list[tuple[str, str]]:
    return found.skipped


def others(found: QuestionSet) -> tuple:
    one = found.questions[0]
    return one.chart_type, one.instruction, one.tolerance


def pictures(found: QuestionSet) -> str:
    return f"{sum(question.open_image is not None for question in found.questions)} pictures"


# -- inputs -----------------------------------------------------------------------------------------------------------


def good(**values) -> dict:
    return {**GOOD, **values}


def files(**texts: str | bytes) -> Write:
    """Files by name (__ for the point), beside 0.png to 4.png."""

    def write(folder: Path) -> None:
        for shade in range(5):
            (folder / f"{shade}.png").write_bytes(png(shade))
        for name, text in texts.items():
            content = text if isinstance(text, bytes) else text.encode()
            (folder / name.replace("__", ".")).write_bytes(content)

    return write


def lines(*rows: dict, name: str = "train__jsonl") -> Write:
    return files(**{name: "\n".join(json.dumps(row) for row in rows)})


def cells(*answers: str, name: str = "train__csv", head: str = "image,question,answer", mark: str = ",") -> Write:
    """A CSV file with one row for each answer."""
    return files(**{name: "\n".join([head, *(mark.join(["0.png", "What is it?", answer]) for answer in answers)])})


def parquet(*rows: dict, **features) -> Write:
    def write(folder: Path) -> None:
        datasets.Dataset.from_list([*rows], features=_features(features)).to_parquet(folder / "train.parquet")

    return write


def saved(*rows: dict, **features) -> Write:
    return lambda folder: datasets.Dataset.from_list([*rows], features=_features(features)).save_to_disk(str(folder))


def _features(given: dict) -> datasets.Features | None:
    texts = {"question": datasets.Value("string"), "answer": datasets.Value("string")}
    return datasets.Features({**texts, **given}) if given else None


def linked(what: str) -> Write:
    """A data set as in the hub's cache: its "files" are links, or its "folder" of pictures; alias leads to it."""

    def write(folder: Path) -> None:
        store, data = folder / "blobs", folder / "snapshots" / "abc"
        (store / "images").mkdir(parents=True)
        data.mkdir(parents=True)
        for shade in range(3):
            (store / "images" / f"{shade}.png").write_bytes(png(shade))
        (store / "rows").write_text("\n".join(json.dumps(good(image=f"images/{shade}.png")) for shade in range(3)))
        (data / "train.jsonl").symlink_to("../../blobs/rows")
        if what == "folder":
            (data / "images").symlink_to(store / "images")
        else:
            (data / "images").mkdir()
            for shade in range(3):
                (data / "images" / f"{shade}.png").symlink_to(f"../../../blobs/images/{shade}.png")

    return write


def in_folders_of_splits(text: str) -> Write:
    """Pictures in images/train and images/test, and rows for them in train.json and test.json, or one metadata."""

    def write(folder: Path) -> None:
        rows = {"train": [], "test": []}
        for shade, split in enumerate(("train", "train", "test")):
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            (folder / "images" / split / f"{shade}.png").write_bytes(png(shade))
            rows[split].append(good(image=f"images/{split}/{shade}.png", answer=str(shade)))
        if text == "metadata":
            both = [{"file_name": row.pop("image"), **row} for part in rows.values() for row in part]
            (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, both)))
        else:
            for split, part in rows.items():
                (folder / f"{split}.json").write_text(json.dumps(part))

    return write


def linked_parquet(folder: Path) -> None:
    """A parquet file that is a link, in a folder to which alias is a link."""
    (folder / "data").mkdir()
    parquet(good(image={"bytes": png(1), "path": None}))(folder)
    (folder / "train.parquet").rename(folder / "blob")
    (folder / "data" / "train.parquet").symlink_to("../blob")
    (folder / "alias").symlink_to("data")


def linked_chartfc(folder: Path) -> None:
    chartfc_files(folder / "set")
    (folder / "set" / "images").rename(folder / "elsewhere")
    (folder / "set" / "images").symlink_to(folder / "elsewhere")


def chartqa_without_imgname(folder: Path) -> None:
    for file in chartqa_files(folder).glob("ChartQA Dataset/*/*.json"):
        rows = json.loads(file.read_text())
        file.write_text(json.dumps([{"image": row.pop("imgname"), **row} for row in rows]))


def chartqa_of_numbers(folder: Path) -> None:
    data = chartqa_test_only()["test"].remove_columns("answer").add_column("answer", [2015.0, 7.5])
    datasets.DatasetDict(test=data).save_to_disk(str(folder))


def repeats(share_of: int, of: int = 1000) -> Write:
    return lines(*(good(question=f"Which {number % (of - share_of)}?") for number in range(of)))
