"""What the report shows of each problem: its chart, question, gold answer and, per method, its samples by answer."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from charts.boxes import KIND, answered, read_box
from charts.images import open_image
from evaluation.metrics import same_answer_key
from evaluation.rescore import question_of

GROUPS = 24  # answers listed per problem and method; the rest is counted
ANSWER_CHARACTERS = 200
COMPLETION_CHARACTERS = 6000


class Gallery:
    """Collects the problems of several samples files, each chart once, however many problems and files share it."""

    def __init__(self, completions: int, image_size: int):
        self.completions, self.image_size = completions, image_size
        self.problems: dict[str, dict] = {}
        self.images: dict[str, str | None] = {}
        self.kinds: dict[str, int] = {}
        self.method, self.folder = 0, Path()

    def begin(self, method: int, folder: Path) -> None:
        """What follows is of this method; its pictures lie relative to `folder`."""
        self.method, self.folder = method, folder

    def visit(self, problem: dict, marks: list[bool]) -> None:
        kind, gold = str(problem.get("kind") or ""), problem.get("answer")
        place = self.kinds.setdefault(kind, len(self.kinds)) if kind else None
        choices = given if isinstance(given := problem.get("choices"), list) else []
        asked = "\n".join([str(problem.get("question") or ""), *map(str, choices)])
        texts = asked, str(gold if gold is not None else "not stored")
        known = self._known(str(problem["problem_id"]), *texts, place, gold_boxes(problem))
        if known["image"] is None and problem.get("image"):
            chart = known["image"] = str(problem.get("image_id") or problem["image"])
            if not self.images.get(chart):
                self.images[chart] = embedded(self.folder, str(problem["image"]), self.image_size)
        known["by"][self.method] = self._by_answer(problem, marks)

    def unsampled(self, problems: list[tuple[str, str, dict]]) -> None:
        """Problems of the present method that have no samples, with the reason."""
        for name, reason, _ in problems:
            self._known(name)["by"][self.method] = {"right": 0, "total": 0, "error": reason}

    def _known(
        self, name: str, question: str = "", gold: str = "", kind: int | None = None, boxes: dict | None = None
    ) -> dict:
        """What is shown of a problem, begun when it comes first."""
        blank: dict = {"id": name, "question": question, "gold": gold, "kind": kind, "image": None, "by": {}}
        return self.problems.setdefault(name, blank | (boxes or {}))

    def _by_answer(self, problem: dict, marks: list[bool]) -> dict:
        """Samples with one answer and one mark are a group; the largest groups come first, each with one completion."""
        texts = problem["samples"] if isinstance(problem.get("samples"), list) else []
        stored = problem.get("extracted")
        answers = stored if isinstance(stored, list) and stored else ["answer not stored"] * len(marks)
        answers = [answer if answer is None else str(answer) for answer in answers]
        groups: dict[tuple, dict] = {}
        for i, (answer, right) in enumerate(zip(answers, marks, strict=True)):
            group = groups.setdefault(
                (same_answer_key(answer), right), {"answer": answer, "right": right, "count": 0, "i": i}
            )
            group["count"] += 1
        ordered = sorted(groups.values(), key=lambda group: -group["count"])
        listed = ordered[:GROUPS]
        listed += [group for group in ordered[GROUPS:] if group["right"]][:1] if not _any_right(listed) else []
        rest = [group for group in ordered if not any(group is kept for kept in listed)]
        if gold_boxes(problem):
            add_boxes(problem, listed)
        for place, group in enumerate(listed):
            i = group.pop("i")
            group["answer"] = None if group["answer"] is None else cut(group["answer"], ANSWER_CHARACTERS)
            wanted = place < self.completions or (
                group["right"] and not _any_right(listed[:place]) and self.completions
            )
            if wanted and i < len(texts):
                group["text"] = cut(str(texts[i]), COMPLETION_CHARACTERS)
        further = [len(rest), sum(group["count"] for group in rest)]
        return {"right": sum(marks), "total": len(marks), "groups": listed, "further": further}

    def content(self, methods: int) -> dict:
        """The gallery as JSON values; `by` becomes a list over methods, None where a method lacks the problem."""
        by = [[problem["by"].get(method) for method in range(methods)] for problem in self.problems.values()]
        problems = [{**problem, "by": own} for problem, own in zip(self.problems.values(), by, strict=True)]
        return {"kinds": list(self.kinds), "images": self.images, "problems": problems}


def gold_boxes(problem: dict) -> dict[str, list]:
    """The gold boxes and the size of the image that they are in, where a box is asked for and both are stored."""
    question = question_of(problem, _texts(problem.get("answers")))
    boxes = [box for answer in question.answers if (box := read_box(answer))]
    wanted = question.answer_kind == KIND and question.image_size and boxes
    return {"boxes": boxes, "size": list(question.image_size or ())} if wanted else {}


def add_boxes(problem: dict, groups: list[dict]) -> None:
    """To every group of answers that are a box, where that is in the image."""
    question = question_of(problem, [])
    for group in groups:
        if box := answered(group["answer"], question):
            group["box"] = box


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _any_right(groups: list[dict]) -> bool:
    return any(group["right"] for group in groups)


def cut(text: str, length: int) -> str:
    """`text`, or its beginning and how much is left out."""
    return text if len(text) <= length else f"{text[:length]} … [{len(text) - length} more characters]"


def embedded(folder: Path, name: str, size: int) -> str | None:
    """The picture as a data URI no larger than `size` pixels a side; None for one that is absent or unreadable.

    Only files below the samples file's own folder are read: a samples file may come from somebody else.
    """
    try:
        picture = open_image(name, folder)
    except ValueError:
        return None
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    best = None
    for kind, options in (("webp", {"quality": 85, "method": 4}), ("png", {})):
        content = io.BytesIO()
        try:
            picture.save(content, format=kind, **options)
        except (OSError, KeyError):  # a Pillow built without WebP
            continue
        if best is None or len(content.getvalue()) < len(best[1]):
            best = (kind, content.getvalue())
    return f"data:image/{best[0]};base64,{base64.b64encode(best[1]).decode()}" if best else None
