"""Boxes: read from text in the ways that models write them, put into one frame, compared by IoU.

A box is (x1, y1, x2, y2), left, top, right and bottom *edges*, so that a box over one pixel is one wide. A gold box is
in pixels of the stored image, as a viewer shows it. A model writes boxes in a frame of its own: Qwen2.5-VL in pixels of
the image after resizing, Qwen2-VL, Qwen3-VL and InternVL3 from 0 to 1000 (models/families/). `ChartQuestion.box_frame`
says which, and an answer is brought into the gold's frame before they are compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from charts.record import ChartQuestion

Box = tuple[float, float, float, float]
KIND = "box"  # of answer, see record.ANSWER_KINDS
CORRECT_FROM = 0.5  # IoU of a right box in Pass@k: Acc@0.5, as grounding is reported; --reward-threshold has its own
SLACK = 1.0  # pixels that a gold box may reach over the image: annotators' rounding
_MAX_CHARACTERS = 2_000
_LARGEST = 1e9  # no image has as many pixels a side; beyond it areas lose their digits
_KEYS = ("bbox_2d", "bbox", "box")  # not box_2d: there y comes before x
_CORNERS = ("x1", "y1", "x2", "y2")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_NAMED = re.compile(r"<ref>.*?</ref>|<\|object_ref_start\|>.*?<\|object_ref_end\|>", re.DOTALL)
_WRAPPER = re.compile(r"</?(?:box|bbox)>|<\|box_(?:start|end)\|>")
# A text with N for each number and without blanks, but for those that alone part two numbers.
_SHAPES = {
    *("N,N,N,N", "N N N N", "[N,N,N,N]", "[N N N N]", "(N,N,N,N)", "[[N,N,N,N]]", "[(N,N,N,N)]"),
    *("(N,N),(N,N)", "(N,N)(N,N)", "[N,N],[N,N]", "[(N,N),(N,N)]", "((N,N),(N,N))", "[[N,N],[N,N]]"),
}


def read_box(text: str | None) -> Box | None:
    """The one box that a text says; None for none, several, and what is no box.

    Read are `[x1, y1, x2, y2]`, `(x1, y1), (x2, y2)` and their likes, in `<box>` or Qwen's markers, and JSON with
    `bbox_2d`, `bbox`, `box` or x1, y1, x2, y2. A box whose corners are reversed, that is empty, or that has a
    coordinate which is not finite, is no box: which one was meant is not guessed.
    """
    if not text or len(text) > _MAX_CHARACTERS:
        return None
    if fenced := _FENCE.fullmatch(text.strip()):
        text = fenced[1]
    text = _WRAPPER.sub(" ", _NAMED.sub(" ", text)).strip()
    if "{" in text:
        return _of_json(text)
    shape = re.sub(r"\s*([,()\[\]])\s*", r"\1", _NUMBER.sub("N", text))
    return checked(_NUMBER.findall(text)) if re.sub(r"\s+", " ", shape) in _SHAPES else None


def _of_json(text: str) -> Box | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return None
    if all(name in found for name in _CORNERS):
        return checked([found[name] for name in _CORNERS])
    named = [found[name] for name in _KEYS if name in found]
    return checked(named[0]) if len(named) == 1 else None


def checked(values: Any) -> Box | None:
    """Four finite numbers as a box with an area; None for anything else."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 4:
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in values):
        return None
    try:
        x1, y1, x2, y2 = map(float, values)
    except (ValueError, OverflowError):
        return None
    finite = all(math.isfinite(value) and abs(value) < _LARGEST for value in (x1, y1, x2, y2))
    return (x1, y1, x2, y2) if finite and x1 < x2 and y1 < y2 else None


def iou(one: Box, other: Box) -> float:
    """Area of the intersection over area of the union, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    union = _area(one) + _area(other) - shared
    return min(1.0, shared / union) if union > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def answered(answer: str | None, question: ChartQuestion) -> Box | None:
    """The box of an answer in pixels of the question's stored image; None where it says none."""
    box = read_box(answer)
    if box is None or question.box_frame is None or question.image_size is None:
        return box
    (width, height), (frame_width, frame_height) = question.image_size, question.box_frame
    x, y = width / frame_width, height / frame_height
    return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


def overlap(answer: str | None, question: ChartQuestion) -> float | None:
    """IoU of an answer with the nearest gold box, 0 for an answer that is no box; None without a gold box."""
    golds = [box for text in question.answers if (box := read_box(text))]
    if not golds:
        return None
    said = answered(answer, question)
    return max(iou(said, gold) for gold in golds) if said else 0.0


def from_corner_and_size(values: Any) -> list[float]:
    """COCO's x, y, width, height as corners; ValueError for what is not four numbers."""
    try:
        x, y, width, height = map(float, values)
    except (TypeError, ValueError):
        raise ValueError(f"the box {str(values)[:80]} is not x, y, width and height") from None
    return [x, y, x + width, y + height]


def gold_boxes(value: Any) -> tuple[str, ...]:
    """The accepted boxes of a row, written alike: a box as four numbers or as text, or a list of such boxes."""
    several = isinstance(value, list | tuple) and value and not isinstance(value[0], int | float)
    return tuple(_gold(one) for one in (value if several else [value]))


def _gold(value: Any) -> str:
    box = read_box(value) if isinstance(value, str) else checked(value)
    for digits in (2, 9):  # a box may be thinner than a hundredth of a pixel
        edges = [f"{edge:.{digits}f}".rstrip("0").rstrip(".") for edge in box or ()]
        if read_box(text := f"[{', '.join(edges)}]"):
            return text
    raise ValueError(f"the box {str(value)[:80]} is not left, top, right and bottom edge: [x1, y1, x2, y2]")


def check_inside(golds: Sequence[str], size: tuple[int, int] | None) -> None:
    """ValueError for a gold box that is not in an image of this width and height: it is of another frame or form."""
    if size is None:
        raise ValueError("a box is asked for, and there is no image")
    for gold in golds:
        box = read_box(gold)
        if box is None or min(box[:2]) < -SLACK or box[2] > size[0] + SLACK or box[3] > size[1] + SLACK:
            raise ValueError(
                f"the box {gold} is not in the image of {size[0]} x {size[1]} pixels: wanted are its left, top, right "
                "and bottom edge in pixels of the stored image"
            )
