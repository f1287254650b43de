"""Referring expressions on COCO images: which box does this phrase mean? Three publications of the same annotations.

| written by | phrases | box | image |
|---|---|---|---|
| lmms-lab/RefCOCO, RefCOCOplus, RefCOCOg | answer, a list | bbox: x, y, width, height | image |
| jxu124/refcoco, refcocoplus, refcocog | captions, a list | bbox: x1, y1, x2, y2 | image_path, a file of COCO |
| VLM-R1's rec_jsons_processed | normal_caption or problem | solution: x1, y1, x2, y2 | image, a file of COCO |

The `question` of the first asks for a caption, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from charts.boxes import KIND, from_corner_and_size, gold_boxes
from charts.values import accepted, first

WANTED = "image or image_path, bbox or solution, and captions, answer, normal_caption or problem"
ASKED = "Where is this in the image: {phrase}?"


def read_refcoco(row: dict, index: int, rows: int) -> Iterator[dict]:
    """One question for each phrase of a row; phrases that are alike are one."""
    if row.get("captions") is not None:
        phrases, corners = row["captions"], row.get("bbox")
    elif row.get("solution") is not None:
        phrases, corners = first(row, "normal_caption", "problem"), row["solution"]
    else:
        phrases, corners = row.get("answer"), from_corner_and_size(row.get("bbox"))
    found = dict.fromkeys(phrase.rstrip(" .?") for phrase in accepted(phrases))
    if not any(found):
        raise ValueError("no phrase")
    for phrase in filter(None, found):
        yield {
            "question": ASKED.format(phrase=phrase),
            "answers": gold_boxes(corners),
            "answer_kind": KIND,
            "kind": "phrase",
            "rule": "iou",
        }
