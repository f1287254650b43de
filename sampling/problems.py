"""A question's completions -> one line of the samples file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from charts.answers import grade
from charts.boxes import KIND
from charts.parsing import parse_completion
from charts.prompt import form_of
from charts.record import ChartQuestion
from common.files import whole_file
from sampling.batch import Samples

if TYPE_CHECKING:
    from sampling.chat import Answers

IMAGE_FOLDER = "sample_images"


def save_image(image: Image.Image, image_id: str, folder: Path) -> str:
    """Keep the chart beside the samples, once for all methods; returns its path relative to `folder`."""
    name = f"{IMAGE_FOLDER}/{image_id}.png"
    path = folder / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial:
            image.save(partial, format="PNG")
    return name


def record(
    question: ChartQuestion,
    samples: Samples | Answers,
    texts: list[str],
    *,
    prompt: str,
    image: str | None,
    run: str,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the samples file says about one problem: completions only, never the prompt.

    `earlier` is what a finished file says about it; its samples come first.
    """
    before = earlier or {"samples": [], "tokens": [], "truncated": [], "logprob": []}
    texts = [*before["samples"], *texts]
    parsed = [parse_completion(text, form_of(prompt)) for text in texts]
    public = [grade(p.answer, question) for p in parsed]
    strict = [grade(p.answer, question, "strict") for p in parsed]
    correct = [verdict.correct for verdict in public]  # None, null in the file: no verdict
    return {
        **_head(question),
        "answers": list(question.answers),
        **_described(question),
        "image": image,
        "source": question.source,
        "run": run,
        "samples": texts,
        "extracted": [p.answer for p in parsed],
        "correct": correct,
        "correct_strict": [verdict.correct for verdict in strict],
        "reason": [verdict.reason for verdict in strict],
        "well_formed": [p.well_formed for p in parsed],
        "tokens": [*before["tokens"], *samples.lengths],
        "truncated": [*before["truncated"], *samples.truncated],
        "logprob": [*before["logprob"], *map(_rounded, samples.logprob_sums)],
        "num_correct": sum(map(bool, correct)),
        "num_total": len(correct),
    }


def _rounded(value: float | None) -> float | None:
    """A server may give none."""
    return None if value is None else round(value, 4)


def error_record(question: ChartQuestion, error: str, run: str) -> dict[str, Any]:
    about = {"kind": question.kind, "image_id": question.image_id}
    return {**_head(question), **about, "run": run, "error": error}


def _head(question: ChartQuestion) -> dict[str, Any]:
    head = {"problem_id": question.id, "question": question.question, "answer": " | ".join(question.answers)}
    return {**head, "choices": list(question.choices)} if question.choices else head


def _described(question: ChartQuestion) -> dict[str, Any]:
    boxes = ("image_size", "box_frame") if question.answer_kind == KIND else ()
    names = ("kind", "answer_kind", "tolerance", "rule", "image_id", *boxes)
    return {name: getattr(question, name) for name in names}


def as_line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
