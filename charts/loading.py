"""From the name of a data set to its questions: rows read, bad ones counted, subsets drawn, charts held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from charts.adapter import Adapter, Place
from charts.adapters import ADAPTERS
from charts.boxes import KIND, check_inside
from charts.columns import PICTURES, picture_of
from charts.drawn import DRAWN, SIZES
from charts.images import check_header, image_id, seen_size, stored_bytes
from charts.named import DATASETS, Named, find_set, is_for_evaluation
from charts.own_columns import Columns
from charts.record import ChartQuestion, QuestionSet
from charts.sources import Rows, is_training_split, open_rows, undecoded_images
from charts.subsets import check_subset, distinct, draw, fingerprint, hold_out

__all__ = ["DATASETS", "default_prompt", "drop_shared_charts", "fingerprint", "hold_out", "load_questions"]

MAX_SKIPPED_SHARE = 0.01
WORTH_A_WORD = 0.01  # share of the rows: fewer repeats are not mentioned
LONG_ANSWER = 20  # words
SHOWN_COLUMNS = 20
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
    columns: Columns | None = None,
) -> QuestionSet:
    """The questions of data set `name` (charts/named.py) for `purpose` ("train" or "evaluate").

    `columns` says how a set without an adapter is read. `subset_size` draws that many rows: stratified by source and
    distinct rows first, or the literal first ones (`subset_order="sequential"`). Training rows whose image also stands
    in an evaluation split are dropped.
    """
    if purpose not in ("train", "evaluate"):
        raise ValueError(f"unknown purpose {purpose!r}: choose train or evaluate")
    found = find_set(name, split, path, columns)
    other = found.split is not None and not is_training_split(found.split)
    if purpose == "train" and other and (found.own is None or is_for_evaluation(str(found.split))):
        raise ValueError(f"split {found.split!r} is for evaluation: train on the split train")
    check_subset(subset_size, subset_order)
    drawn_here = found.name in DRAWN and found.own is None
    questions = _drawn(found, purpose, subset_size) if drawn_here else _read(found, purpose)
    if deduplicate:
        questions = replace(questions, questions=distinct(questions.questions))
    if subset_size is not None:
        try:
            drawn = draw(questions.questions, subset_size, subset_order, seed)
        except ValueError as error:
            raise ValueError("; ".join([str(error), *questions.notes])) from None
        questions = replace(questions, questions=drawn)
    return replace(questions, fingerprint=fingerprint(questions.questions))


def default_prompt(name: str) -> str:
    """What the questions of a data set are asked with where nobody says otherwise: a name of charts.prompt."""
    base = name if name in ADAPTERS else name.rpartition("@")[0]
    return ADAPTERS[base].prompt if base in ADAPTERS else "structured"


def drop_shared_charts(train: QuestionSet, evaluation_images: set[str]) -> QuestionSet:
    """`train` without the rows whose image is also an evaluation image, their number noted."""
    kept = [question for question in train.questions if question.image_id not in evaluation_images]
    dropped = len(train.questions) - len(kept)
    if not dropped:
        return train
    if not kept:
        raise ValueError(
            f"{train.name}: every chart of the {dropped:,} training rows is also a chart of the evaluation split, so "
            "nothing is left to train on: put whole charts into one split or the other"
        )
    note = f"{dropped:,} training rows dropped: their images are also in an evaluation split"
    return replace(train, questions=kept, notes=[*train.notes, note])


def _drawn(found: Named, purpose: str, subset_size: int | None) -> QuestionSet:
    name = found.name
    if found.path is not None:
        raise ValueError(f"--dataset-path {found.path}: {name} charts are drawn, not read; leave it out")
    split = found.split or ("train" if purpose == "train" else "test")
    if split not in SIZES:
        raise ValueError(f"{name} has no split {split!r}: it has {', '.join(SIZES)}")
    return QuestionSet(name, split, DRAWN[name].questions(split, max(SIZES[split], subset_size or 0)))


def _read(found: Named, purpose: str) -> QuestionSet:
    name, split, path = found.name, found.split, found.path
    adapter, place = _place(found.own or name, purpose, split)
    rows = open_rows(name, adapter, place, split, path)
    adapter = _by_schema(name, adapter, purpose, split, rows)
    animated: set[str] = set()
    unscorable: Counter[str] = Counter()
    questions, skipped = _convert(name, adapter, rows, animated, unscorable)
    notes = [*rows.notes, *_notes(questions), *_notes_on_own_rows(adapter, questions, rows)]
    if unscorable:
        why = ", ".join(f"{count:,} with {reason}" for reason, count in unscorable.most_common())
        everything = len(questions) + unscorable.total()
        notes.append(f"{unscorable.total():,} of {everything:,} questions are unscorable and left out: {why}")
    if animated:
        notes.append(f"images with several frames or pages ({len(animated):,}): the first one is used")
    result = QuestionSet(name, rows.split, questions, skipped, notes)
    if purpose == "train":
        images, note = _evaluation_images(name, rows, path)
        result = drop_shared_charts(replace(result, notes=[*notes, note] if note else notes), images)
    return result


def _place(named: str | Adapter, purpose: str, split: str | None) -> tuple[Adapter, Place]:
    name = named if isinstance(named, str) else named.name
    known = "chart-rvr" if named == "evochart" and purpose == "train" else name
    adapter = ADAPTERS[known] if isinstance(named, str) else named
    if purpose == "train":
        if adapter.train is None:
            raise ValueError(f"{name} is for evaluation only: train on another set, such as evochart or chartqa")
        return adapter, adapter.train
    if adapter.evaluate is not None:
        return adapter, adapter.evaluate
    if split is None or not is_training_split(split):
        raise ValueError(f"{name} has training rows only: evaluate on another set, or give --split train")
    assert adapter.train is not None  # each set has rows for one or the other
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


def _convert(
    name: str, adapter: Adapter, rows: Rows, animated: set[str], unscorable: Counter[str]
) -> tuple[list[ChartQuestion], list[tuple[str, str]]]:
    """(questions, rows skipped and why); the ids of images with several frames go into `animated`, and into
    `unscorable` the reasons of questions that the adapter says no exact rule decides on."""
    questions, skipped = [], []
    known_images: dict[object, str] = {}
    needs_image = adapter.needs_image or any(name in rows.columns for name in PICTURES)
    for index, row in enumerate(rows):
        try:
            parts = list(adapter.read(row, index, len(rows)))
            for fields in parts:
                if not fields["question"].strip() or not (fields["answers"] or "unscorable" in fields):
                    raise ValueError("no question" if not fields["question"].strip() else "no answer")
            scorable = [(part, fields) for part, fields in enumerate(parts) if "unscorable" not in fields]
            unscorable.update(fields["unscorable"] for fields in parts if "unscorable" in fields)
            if not scorable:
                continue
            stored = picture_of(row) if needs_image else None
            picture = _identify(stored, rows.folder, known_images, animated) if needs_image else None
            opener = rows.opener(index, stored) if picture else None
            if any(fields.get("answer_kind") == KIND for _, fields in scorable):
                size = seen_size(stored, rows.folder) if picture else None
                scorable = [(part, _boxed(fields, size)) for part, fields in scorable]
            for part, fields in scorable:
                suffix = f"-{part}" if len(parts) > 1 else ""
                place = {"id": f"{name}-{rows.split}-{index}{suffix}", "image_id": picture, "open_image": opener}
                questions.append(ChartQuestion(**{"source": name, "split": rows.split, **fields, **place}))
        except (ValueError, TypeError, AttributeError) as error:
            skipped.append((f"{rows.split} row {index}", str(error)))
    if len(skipped) > MAX_SKIPPED_SHARE * len(rows):
        raise ValueError(_refusal(name, adapter, rows, skipped))
    if not questions:
        what = f"no question that can be scored ({', '.join(unscorable)})" if unscorable else "no rows"
        raise ValueError(f"{name}: split {rows.split!r} holds {what}")
    return questions, skipped


def _boxed(fields: dict, size: tuple[int, int] | None) -> dict:
    """A question with its picture's size, where a box is asked for; `ValueError` for one outside of it."""
    if fields.get("answer_kind") != KIND:
        return fields
    check_inside(fields["answers"], size)
    return fields | {"image_size": size}


def _refusal(name: str, adapter: Adapter, rows: Rows, skipped: list[tuple[str, str]]) -> str:
    """Why these rows cannot be used: the first reasons, and which columns there are where no row has what it needs."""
    first = "; ".join(f"{row}: {reason}" for row, reason in skipped[:3])
    line = f"{name}: {len(skipped):,} of {len(rows):,} rows cannot be used (more than 1 %): {first}"
    if len(skipped) < len(rows) or not any(reason.startswith("no ") for _, reason in skipped):
        return line
    if all(reason == "no image" for _, reason in skipped):
        way_out = "" if adapter.needs_image else " (leave the column out to ask about text alone)"
        line = f"{name}: no row has an image{way_out}"
    columns = ", ".join(rows.columns[:SHOWN_COLUMNS]) + (", ..." if len(rows.columns) > SHOWN_COLUMNS else "")
    unread = f" ({_unread(rows)})" if rows.unread and not set(PICTURES) & set(rows.columns) else ""
    return f"{line}; columns found: {columns}{unread}; wanted: {adapter.wanted}"


def _unread(rows: Rows) -> str:
    one = len(rows.unread) == 1
    return f"{', '.join(rows.unread)} {'looks' if one else 'look'} like pictures and {'is' if one else 'are'} not read"


def _notes_on_own_rows(adapter: Adapter, questions: list[ChartQuestion], rows: Rows) -> list[str]:
    """Notes on a user's own rows: no pictures, columns of pictures that are not read, answers that are whole texts."""
    if adapter.needs_image:
        return []
    name = adapter.name
    seen = any(question.open_image for question in questions)
    if not seen and rows.unread:
        raise ValueError(
            f"{name}: no row has an image, and {_unread(rows)}: call that column image, name it by --image-column, "
            "or leave it out to ask about text alone"
        )
    notes = [f"{name}: {told}" for told in [adapter.columns.told() if adapter.columns else ""] if told]
    notes += [] if seen else ["No row has an image: the questions are asked as text alone"]
    if rows.unread:
        notes.append(f"The column {_unread(rows)}")
    long = sum(min(len(answer.split()) for answer in question.answers) > LONG_ANSWER for question in questions)
    if long > WORTH_A_WORD * len(questions):
        notes.append(f"{long:,} answers have over {LONG_ANSWER} words: hardly a completion is equal to such a text")
    return notes


def _identify(stored, folder: Path | None, known: dict, animated: set[str]) -> str:
    """The image's id; `ValueError` for what is missing, too large or no image. Looks at each path or image once."""
    name = stored if isinstance(stored, str) else None
    if name is not None and name in known:
        return known[name]
    content = stored_bytes(stored, folder)
    identity = image_id(content)
    if identity not in known:
        if check_header(content):
            animated.add(identity)
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
            evaluation = open_rows(name, *_place(name, "evaluate", None), None, None)
        except ValueError:
            return images, "EvoChart-QA could not be loaded: training images were not compared with it"
        images |= _ids(undecoded_images(evaluation.data), evaluation.folder)
    return images, ""


def _ids(stored_images, folder: Path | None) -> set[str]:
    ids = set()
    known: dict[object, str] = {}
    for stored in stored_images:
        try:
            ids.add(_identify(stored, folder, known, set()))
        except ValueError:
            continue
    return ids


def _notes(questions: list[ChartQuestion]) -> list[str]:
    rows, unique = len(questions), len(distinct(questions))
    if rows - unique < WORTH_A_WORD * rows:
        return []
    times = _TIMES.get(rows // unique, f"{rows // unique} times") if rows % unique == 0 else None
    passes = f"each {times}" if times else f"each {rows / unique:.2f} times on average"
    return [f"{rows:,} rows, {unique:,} distinct: one epoch passes {passes}"]
