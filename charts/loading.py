"""From the name of a data set to its questions: rows read, bad ones counted, subsets drawn, charts held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from charts.adapters import ADAPTERS, Adapter, Place
from charts.drawn import DRAWN
from charts.images import check_header, image_id, stored_bytes
from charts.record import ChartQuestion, QuestionSet
from charts.sources import IMAGE, Rows, is_training_split, open_rows, undecoded_images
from charts.subsets import check_subset, distinct, draw, fingerprint, hold_out

__all__ = ["DATASETS", "drop_shared_charts", "fingerprint", "hold_out", "load_questions"]

DATASETS = {
    **{name: drawn.about for name, drawn in DRAWN.items()},
    **{name: adapter.about for name, adapter in ADAPTERS.items()},
}
MAX_SKIPPED_SHARE = 0.01
_TIMES = {2: "twice", 3: "three times", 4: "four times"}


def load_questions(
    name: str,
    *,
    purpose: str = "train",
    split: str | None = None,
    path: str | Path | None = None,
    subset_size: int | None = None,
    subset_order: str = "stratified",
    seed: int = 2025,
    deduplicate: bool = False,
) -> QuestionSet:
    """The questions of data set `name` for `purpose` ("train" or "evaluate").

    `subset_size` draws that many rows: stratified by source and distinct rows first, or the literal first ones
    (`subset_order="sequential"`). Training rows whose image also stands in an evaluation split are dropped.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"unknown purpose {purpose!r}: choose train or evaluate")
    if purpose == "train" and split is not None and not is_training_split(split):
        raise ValueError(f"split {split!r} is for evaluation: train on the split train")
    check_subset(subset_size, subset_order)
    questions = _drawn(name, purpose, split, path, subset_size) if name in DRAWN else _read(name, purpose, split, path)
    if deduplicate:
        questions = replace(questions, questions=distinct(questions.questions))
    if subset_size is not None:
        try:
            drawn = draw(questions.questions, subset_size, subset_order, seed)
        except ValueError as error:
            raise ValueError("; ".join([str(error), *questions.notes])) from None
        questions = replace(questions, questions=drawn)
    return replace(questions, fingerprint=fingerprint(questions.questions))


def drop_shared_charts(train: QuestionSet, evaluation_images: set[str]) -> QuestionSet:
    """`train` without the rows whose image is also an evaluation image, their number noted."""
    kept = [question for question in train.questions if question.image_id not in evaluation_images]
    dropped = len(train.questions) - len(kept)
    if not dropped:
        return train
    note = f"{dropped:,} training rows dropped: their images are also in an evaluation split"
    return replace(train, questions=kept, notes=[*train.notes, note])


def _drawn(name: str, purpose: str, split: str | None, path, subset_size: int | None) -> QuestionSet:
    if path is not None:
        raise ValueError(f"--dataset-path {path}: {name} charts are drawn, not read; leave it out")
    split = split or ("train" if purpose == "train" else "test")
    sizes = DRAWN[name].sizes
    if split not in sizes:
        raise ValueError(f"{name} has no split {split!r}: it has {', '.join(sizes)}")
    return QuestionSet(name, split, DRAWN[name].questions(split, max(sizes[split], subset_size or 0)))


def _read(name: str, purpose: str, split: str | None, path) -> QuestionSet:
    adapter, place = _place(name, purpose, split)
    rows = open_rows(name, adapter, place, split, path)
    adapter = _by_schema(name, adapter, purpose, split, rows)
    questions, skipped = _convert(name, adapter, rows)
    notes = _notes(questions)
    result = QuestionSet(name, rows.split, questions, skipped, notes)
    if purpose == "train":
        images, note = _evaluation_images(name, rows, path)
        result = drop_shared_charts(replace(result, notes=[*notes, note] if note else notes), images)
    return result


def _place(name: str, purpose: str, split: str | None) -> tuple[Adapter, Place]:
    adapter = ADAPTERS["chart-rvr" if name == "evochart" and purpose == "train" else name]
    if purpose == "train":
        if adapter.train is None:
            raise ValueError(f"{name} is for evaluation only: train on another set, such as evochart or chartqa")
        return adapter, adapter.train
    if adapter.evaluate is not None:
        return adapter, adapter.evaluate
    if split is None or not is_training_split(split):
        raise ValueError(f"{name} has training rows only: evaluate on another set, or give --split train")
    return adapter, adapter.train


def _by_schema(name: str, adapter: Adapter, purpose: str, split: str | None, rows: Rows) -> Adapter:
    """The adapter that reads these columns: evochart's folder may hold the training or the evaluation set."""
    if adapter.name not in ("evochart", "chart-rvr"):
        return adapter
    columns = set(rows.columns)
    if {"query", "label"} <= columns:
        if purpose == "evaluate" and split is None:
            raise ValueError(f"{name}: this folder holds training rows; give EvoChart-QA's, or --split train")
        return ADAPTERS["chart-rvr"]
    if {"question", "answer"} <= columns:
        if purpose == "train":
            raise ValueError(f"{name}: this folder holds EvoChart-QA, whose split named train is for evaluation only")
        return ADAPTERS["evochart"]
    raise ValueError(f"{name}: columns {', '.join(sorted(columns))} are neither EvoChart-QA's nor chart-rvr's")


def _convert(name: str, adapter: Adapter, rows: Rows) -> tuple[list[ChartQuestion], list[tuple[str, str]]]:
    questions, skipped, known_images = [], [], {}
    needs_image = adapter.needs_image or IMAGE in rows.columns
    for index, row in enumerate(rows):
        try:
            picture = _identify(row.get(IMAGE), rows.folder, known_images) if needs_image else None
            opener = rows.opener(index, row.get(IMAGE)) if picture else None
            parts = list(adapter.read(row, index, len(rows)))
            for part, fields in enumerate(parts):
                if not fields["question"].strip() or not fields["answers"]:
                    raise ValueError("no question" if not fields["question"].strip() else "no answer")
                suffix = f"-{part}" if len(parts) > 1 else ""
                place = {"id": f"{name}-{rows.split}-{index}{suffix}", "image_id": picture, "open_image": opener}
                parts[part] = ChartQuestion(**{"source": name, "split": rows.split, **fields, **place})
            questions += parts
        except (ValueError, TypeError, AttributeError) as error:
            skipped.append((f"{rows.split} row {index}", str(error)))
    if len(skipped) > MAX_SKIPPED_SHARE * len(rows):
        first = "; ".join(f"{row}: {reason}" for row, reason in skipped[:3])
        raise ValueError(f"{name}: {len(skipped):,} of {len(rows):,} rows cannot be used (more than 1 %): {first}")
    if not questions:
        raise ValueError(f"{name}: split {rows.split!r} holds no rows")
    return questions, skipped


def _identify(stored, folder: Path | None, known: dict) -> str:
    """The image's id; `ValueError` for what is missing, too large or no image. Looks at each path or image once."""
    name = stored if isinstance(stored, str) else None
    if name is not None and name in known:
        return known[name]
    if not hasattr(stored, "mode"):
        stored = stored_bytes(stored, folder)
    identity = image_id(stored)
    if identity not in known:
        check_header(stored)
        known[identity] = identity
    if name is not None:
        known[name] = identity
    return identity


def _evaluation_images(name: str, rows: Rows, path) -> tuple[set[str], str]:
    """Ids of the images in the evaluation splits beside these rows (EvoChart-QA for evochart), and a note."""
    images = set()
    for split, data in rows.others.items():
        if split is not None and not is_training_split(split):
            images |= _ids(undecoded_images(data), rows.folder)
    if name == "evochart" and path is None:
        try:
            evaluation = open_rows(name, ADAPTERS["evochart"], ADAPTERS["evochart"].evaluate, None, None)
        except ValueError:
            return images, "EvoChart-QA could not be loaded: training images were not compared with it"
        images |= _ids(undecoded_images(evaluation.data), evaluation.folder)
    return images, ""


def _ids(stored_images, folder: Path | None) -> set[str]:
    ids, known = set(), {}
    for stored in stored_images:
        try:
            ids.add(_identify(stored, folder, known))
        except ValueError:
            continue
    return ids


def _notes(questions: list[ChartQuestion]) -> list[str]:
    rows, unique = len(questions), len(distinct(questions))
    if rows == unique:
        return []
    times = _TIMES.get(rows // unique, f"{rows // unique} times") if rows % unique == 0 else None
    passes = f"each {times}" if times else f"each {rows / unique:.2f} times on average"
    return [f"{rows:,} rows, {unique:,} distinct: one epoch passes {passes}"]
