"""What a chart question is: one record for every data set, and the set of them that a run uses."""

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

ANSWER_KINDS = ("number", "year", "count", "list", "ordered list", "yes/no", "text", "math", "box")


@dataclass(frozen=True)
class ChartQuestion:
    """One verifiable question.

    `open_image` returns a fresh RGB image (or is None for a text-only problem) and raises `ValueError` for a file that
    cannot be used; nothing is decoded before it is called. `image_id` is a hash of the image's content: questions
    that share a chart share it. `answers` are the accepted gold answers; an empty tuple means the row is unscorable.
    `rule` names the data set's own public matching rule; `tolerance` is the relative error that the strict rule
    allows for a plain number (None: that rule's default; 0: exact). Where the answer is a box, `answers` are in pixels
    of the stored image, of `image_size` (width, height), and completions in a frame of `box_frame` (None: the same).
    """

    id: str
    question: str
    answers: tuple[str, ...]
    open_image: Callable[[], Image.Image] | None = None
    image_id: str | None = None
    kind: str = ""  # question kind ("value", "sum", "yes/no", "human", ...): the data set's own word
    answer_kind: str = ""  # one of ANSWER_KINDS, or "" when the data set does not say
    rule: str = "relaxed"
    tolerance: float | None = None
    choices: tuple[str, ...] = ()  # the options of a multiple-choice question, as they are shown: "A. red"
    instruction: str = ""  # answer-format rule of the data set, shown after the question in training and evaluation
    history: tuple[tuple[str, str], ...] = ()  # earlier (question, answer) turns of the same conversation
    chart_type: str | None = None
    table: dict | None = None  # {"columns": [str, ...], "rows": [[str, ...], ...]}
    source: str = ""
    split: str = ""
    reasoning: str | None = None  # a reference solution in words, where the data set has one
    image_size: tuple[int, int] | None = None
    box_frame: tuple[int, int] | None = None


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one data set and split, what was left out of it, and notes for its user."""

    name: str
    split: str
    questions: list[ChartQuestion]
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (row, reason)
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""  # sha256 over id, question, answers, image_id and options of every question, in order

    def __len__(self) -> int:
        return len(self.questions)
