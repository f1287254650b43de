"""A user's own rows: plain columns, or the conversations in which other trainers keep their data.

| written for | question | answer | picture |
|---|---|---|---|
| this project, TRL | question, query, problem or prompt | answer, answers, label, solution, ... | image, images |
| EasyR1 | problem, with <image> in it | answer | images, a list |
| ms-swift, LLaMA-Factory | the user's turn of `messages` | the assistant's turn, or solution | images, a list |
| LLaVA | the human's turn of `conversations` | the turn of gpt | image |
| verl | the user's turn of `prompt` | ground_truth of `reward_model` | images, a list |
"""

import re
from collections.abc import Iterator
from typing import Any

from charts.answer_lists import written
from charts.answers import RULES
from charts.boxed import last_boxed
from charts.boxes import KIND, gold_boxes
from charts.choices import accepted_choice, instruction_for, read_choices, shown
from charts.columns import picture_of
from charts.parsing import as_table, parse_completion
from charts.record import ANSWER_KINDS
from charts.values import accepted, first

WANTED = (
    "image or images; question, query, problem or prompt; answer, answers, label, solution, ground_truth, response or "
    "reward_model; "
    "or messages or conversations in place of question and answer"
)
ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
_MARKER = re.compile(r"\s*<image>\s*")
_OTHER_MARKER = re.compile(r"<(?:video|audio|bbox|ref-object)>")


def read_custom(row: dict, index: int, rows: int) -> Iterator[dict]:
    """Question, answer and every other field of `ChartQuestion` by its name; `ValueError` for values not allowed."""
    question, said = _asked(row)
    rule = _rule(row.get("rule") or "strict")  # what it is rewarded by: such rows have no public rule
    kind = _answer_kind(row.get("answer_kind") or {"iou": KIND, "math": "math"}.get(rule, ""))
    if rule == "strict" and not row.get("choices"):  # what it is for these kinds, by the name published sets have
        rule = {KIND: "iou", "math": "math"}.get(kind, rule)
    if (kind == KIND) != (rule == "iou"):
        raise ValueError(f"answer_kind {kind} and rule {rule}: boxes are compared by the rule iou, and nothing else is")
    answers = _boxes(row, said) if kind == KIND else _answers(row, said)
    if "math" in (rule, kind):  # a whole solution may stand there
        answers = tuple(last_boxed(answer) or answer for answer in answers)
    instruction = str(row.get("instruction") or "")
    choices: dict[str, str] = {}
    if row.get("choices"):
        choices = read_choices(row["choices"])
        answers = tuple(dict.fromkeys(form for gold in answers for form in accepted_choice(gold, choices)))
        kind, instruction = "text", instruction or instruction_for(choices)
    yield {
        "question": _without_marker(question, row),
        "answers": answers,
        "answer_kind": kind,
        "choices": shown(choices),
        "instruction": instruction,
        "tolerance": _tolerance(row.get("tolerance")),
        "table": _table(row.get("table")),
        "chart_type": str(row["chart_type"]) if row.get("chart_type") else None,
        "kind": str(row.get("kind") or ""),
        "rule": rule,
        **({"source": str(row["source"])} if row.get("source") else {}),
    }


def _asked(row: dict) -> tuple[str, str | None]:
    """The question, and the assistant's reply where the row is a conversation."""
    turns = first(row, "messages", "conversations")
    question = first(row, "question", "query", "problem", "prompt")
    if turns is None and isinstance(question, list):
        turns, question = question, None
    if question is not None or turns is None:
        if not isinstance(question, str | int | float | None):
            raise ValueError("the question is no text")
        return "" if question is None else str(question), None
    texts: dict[str, list[str]] = {"user": [], "assistant": [], "system": []}
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, dict):
            raise ValueError("a turn of the conversation has no role and no content")
        role = first(turn, "role", "from")
        if role not in ROLES:
            raise ValueError(f"a turn of the conversation is by {role!r}: {', '.join(ROLES)} are read")
        texts[ROLES[role]].append(_text(first(turn, "content", "value")))
    if len(texts["user"]) != 1 or len(texts["assistant"]) > 1:
        counts = f"{len(texts['user'])} questions and {len(texts['assistant'])} answers"
        raise ValueError(f"a conversation of {counts}: one of each is read, so write a row for each question")
    return texts["user"][0], next(iter(texts["assistant"]), None)


def _text(content: Any) -> str:
    """A turn's text: as it is, or of its parts, with a marker in place of a picture."""
    if not isinstance(content, list):
        return "" if content is None else str(content)
    parts = [part if isinstance(part, dict) else {"text": part} for part in content]
    pictures = ("image", "image_url")
    return "".join("<image>" if part.get("type") in pictures else str(part.get("text") or "") for part in parts)


def _without_marker(question: str, row: dict) -> str:
    """The question without its `<image>` marker: the prompt decides where the picture stands."""
    markers = len(_MARKER.findall(question))
    if markers and picture_of(row) is None:
        raise ValueError("the question has <image> in it and the row no picture in image or images")
    if markers > 1:
        raise ValueError(f"the question has {markers} places for images: one is read")
    if other := _OTHER_MARKER.search(question):
        raise ValueError(f"the question has {other[0]} in it, which is not read")
    return _MARKER.sub(" ", question).strip() if markers else question


def _answers(row: dict, said: str | None) -> tuple[str, ...]:
    """The accepted answers. A list not called `answers` does not say whether one of it is enough, or all are wanted."""
    if row.get("answers"):
        return accepted(row["answers"])
    golds = accepted(_answer(row, said))
    if len(golds) > 1:
        text = written(golds)[:80]
        raise ValueError(
            f"the answer is a list of {len(golds)}: call the column answers where each of them is right by itself, or "
            f"write one text, {text}, where all are wanted (of --answer-column, --answer-kind list means all of them, "
            "another kind any one)"
        )
    return tuple(parse_completion(gold).answer or gold for gold in golds)


def _answer(row: dict, said: str | None) -> Any:
    """What stands in the first column that is called as an answer, else what the assistant has said."""
    answer = first(row, "answer", "label", "solution", "ground_truth", "response")
    if answer is None and isinstance(row.get("reward_model"), dict):
        answer = row["reward_model"].get("ground_truth")
    return said if answer is None else answer


def _boxes(row: dict, said: str | None) -> tuple[str, ...]:
    """The accepted boxes: here a list of four numbers is one answer."""
    value = row.get("answers") or _answer(row, said)
    if isinstance(value, str):
        value = parse_completion(value).answer or value
    return gold_boxes(value) if value else ()


def _rule(value: Any) -> str:
    name, _, detail = str(value).partition(":")  # ChartQAPro's flags of years, a letter an answer; ChartBench's values
    flags = {"chartbench": detail == "value", "chartqapro": not detail.strip("Y-")}
    if name not in RULES or not (detail == "" or flags.get(name)):
        raise ValueError(f"rule {value!r}: choose one of {', '.join(RULES)}")
    return str(value)


def _answer_kind(value: Any) -> str:
    if value and value not in ANSWER_KINDS:
        raise ValueError(f"answer_kind {value!r}: choose one of {', '.join(ANSWER_KINDS)}, or leave it out")
    return value or ""


def _table(value: Any) -> dict | None:
    table = as_table(value)
    if value and table is None:
        raise ValueError('the table is not of the form {"columns": [...], "rows": [[...], ...]}, or too large')
    return table


def _tolerance(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        tolerance = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        tolerance = -1.0
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance {value!r}: give a share of the answer, at least 0 and below 1 (0.05 is 5 %)")
    return tolerance
