"""Counting objects in rendered scenes: CLEVR for training, Super-CLEVR's vehicles for evaluation, as R1-V has them.

| written by | question | answer | image |
|---|---|---|---|
| leonardPKU/clevr_cogen_a_train, MMInstruction's sets | problem | solution: "<answer> 3 </answer>" | image |
| jsonl of R1-V's evaluation; jigsaw-r1/super_clevr | question | ground_truth: 3 | image_path; image |
"""

from __future__ import annotations

from collections.abc import Iterator

from charts.parsing import parse_completion
from charts.values import accepted, first

WANTED = "image or image_path, problem or question, solution, ground_truth or answer"


def read_clevr(row: dict, index: int, rows: int) -> Iterator[dict]:
    """A count is exact; Clevr_CoGenT_TrainA and ValB also ask for yes or no, a colour, a shape or a material."""
    golds = accepted(first(row, "solution", "ground_truth", "answer"))
    answers = tuple(parse_completion(gold).answer or gold for gold in golds)
    counted = bool(answers) and all(answer.isdecimal() for answer in answers)
    yes_no = bool(answers) and all(answer.lower() in ("yes", "no") for answer in answers)
    yield {
        "question": str(first(row, "problem", "question") or ""),
        "answers": answers,
        "answer_kind": "count" if counted else "yes/no" if yes_no else "text",
        "kind": "count" if counted else "yes/no" if yes_no else "attribute",
        "rule": "strict",
    }
