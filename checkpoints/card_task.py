"""What a card says of the questions that a model has learned from: their kind, an example, how its box is meant."""

from __future__ import annotations

from typing import NamedTuple

from charts.adapters import ADAPTERS
from charts.boxes import KIND
from charts.drawn import DRAWN
from models.families import family_of
from models.registry import load_processor

COUNTED, BOXED = {"clevr", "counting"}, {"refcoco", "grounding"}


class Task(NamedTuple):
    kind: str  # of questions
    held_out: str  # what is kept out of training
    tags: list[str]
    image: str = "image"  # what the example calls it
    example: str = "What does the image show?"
    boxed: bool = False  # the answer is a box


def task_of(record: dict) -> Task:
    """Of a run, by its training_settings.json: a set of charts by its name, any other by what is known of it."""
    settings, name = record["settings"], record["data"]["name"]
    if record["model"].get("text_only"):
        return Task("questions", "questions", [], example="What is 7 x 8?")
    if name in BOXED or settings.get("answer_kind") == KIND or settings.get("rule") == "iou":
        example = "Where is the tallest bar? Answer with its box as [x1, y1, x2, y2], "
        return Task("questions for boxes in images", "images", ["visual-grounding"], example=example, boxed=True)
    if name in COUNTED or settings.get("answer_kind") == "count":
        example = "How many red objects are there?"
        return Task("counting questions about images", "images", ["visual-question-answering"], example=example)
    if name in DRAWN or (name in ADAPTERS and name != "custom"):
        tags, example = ["chart-question-answering"], "Which bar is the tallest?"
        return Task("chart questions", "charts", tags, image="chart", example=example)
    return Task("questions about images", "images", ["visual-question-answering"])


def box_range(source: str) -> str:
    """ "each from 0 to 1000" where the model at `source` writes boxes so; "" in pixels of the image, or unknown."""
    try:
        processor = load_processor(source)
    except ValueError:
        return ""
    end = family_of(processor).box_range(processor)
    return f"each from 0 to {end}." if end else ""
