"""Completions: one parser of the think / type / table / answer format.

Two readings of the same text. The *answer* is read leniently, so that a model that is right but untidy is right: the
last complete answer block outside the reasoning. *Well-formedness* is read strictly and is the format reward's
business alone. Neither looks at the prompt.

    <think>
    <type>bar</type>
    <table>{"columns": ["color", "value"], "rows": [["red", "37"], ["blue", "52"]]}</table>
    Step 1: ...
    </think>
    <answer>42</answer>
"""

import json
import re
from dataclasses import dataclass, field

from charts.boxed import last_boxed

_TAG = re.compile(r"<(/?)(think|type|table|answer)>", re.IGNORECASE)
_ORDER = ["think", "type", "/type", "table", "/table", "/think", "answer", "/answer"]
_STEP = re.compile(r"(?:step\s*\d+|\(?\d+)\s*[:.)]\s*(.*)", re.IGNORECASE)
_MAX_TABLE_CELLS, _MAX_TABLE_CHARACTERS = 10_000, 200_000
MAX_STEPS = 100


@dataclass(frozen=True)
class Parsed:
    """What a completion says. `reason` says why it is not `well_formed`; `grade` is 1 for that and less for a part.

    A part is the bare form: reasoning in steps, then one answer, each tag once and in order, nothing outside. It is
    worth one half, and a quarter more with type or table. Everything else is worth nothing.
    """

    answer: str | None = None
    chart_type: str | None = None
    table: dict | None = None
    steps: list[str] = field(default_factory=list)
    well_formed: bool = False
    reason: str = ""
    grade: float = 0.0
    all_tags: bool = False  # the eight tags, each once, in order


@dataclass(frozen=True)
class _Tag:
    name: str  # "think" or "/think"
    start: int
    end: int


def parse_completion(text: str | None, form: str = "structured") -> Parsed:
    """Parse a completion against the form its prompt asked for.

    "structured"; "short": an answer block only; "boxed": the answer is what the last `\\boxed{}` holds, and a
    completion with one is well formed.
    """
    text = text or ""
    if form == "boxed":
        boxed = last_boxed(text)
        return Parsed(boxed, well_formed=bool(boxed), reason="" if boxed else "no box", grade=float(bool(boxed)))
    tags = [_Tag((m[1] + m[2]).lower(), m.start(), m.end()) for m in _TAG.finditer(text)]
    contents = _single_blocks(text, tags)
    answer = _last_answer(text, tags)
    table = as_table(contents.get("table"))
    chart_type = contents.get("type") or None
    steps = _steps(text, tags)
    reason = _fault(text, tags, form, answer, chart_type, table, steps)
    grade = 0.0 if reason else 1.0
    if reason and form == "structured" and _is_bare_form(text, tags, answer, steps):
        grade = 0.5 + 0.25 * (chart_type is not None and "type" in contents) + 0.25 * (table is not None)
        grade = min(grade, 0.75)
    return Parsed(answer, chart_type, table, steps, not reason, reason, grade, [tag.name for tag in tags] == _ORDER)


def as_table(value: object) -> dict | None:
    """A table as data sets and completions have it, as a dict or as JSON, with every cell as text.

    None for what is not of the shape {"columns": [...], "rows": [[...], ...]}.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if len(value) <= _MAX_TABLE_CHARACTERS else None
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        return None
    columns, rows = value["columns"], value.get("rows")
    if not columns or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    if len(columns) + sum(map(len, rows)) > _MAX_TABLE_CELLS:
        return None
    if not all(isinstance(cell, (str, int, float, type(None))) for row in [columns, *rows] for cell in row):
        return None
    as_text = [["" if cell is None else str(cell) for cell in row] for row in [columns, *rows]]
    return {"columns": as_text[0], "rows": as_text[1:]}


def _last_answer(text: str, tags: list[_Tag]) -> str | None:
    """The last complete answer block outside the reasoning.

    Reasoning is what stands between matched think tags, behind one that is never closed, and before a closing one
    that was never opened (chat templates may put the opening tag into the prompt).
    """
    answer, opened, depth = None, None, 0
    for tag in tags:
        if tag.name == "think":
            depth, opened = depth + 1, None
        elif tag.name == "/think":
            if depth == 0:
                answer = None
            depth, opened = max(0, depth - 1), None
        elif depth == 0 and tag.name == "answer":
            opened = tag.end
        elif depth == 0 and tag.name == "/answer" and opened is not None:
            answer, opened = text[opened : tag.start].strip(), None
    return answer or None


def _single_blocks(text: str, tags: list[_Tag]) -> dict[str, str]:
    """Contents of the blocks whose opening and closing tags each stand exactly once, in that order."""
    contents = {}
    for name in ("think", "type", "table", "answer"):
        opening = [tag for tag in tags if tag.name == name]
        closing = [tag for tag in tags if tag.name == "/" + name]
        if len(opening) == len(closing) == 1 and opening[0].end <= closing[0].start:
            contents[name] = text[opening[0].end : closing[0].start].strip()
    return contents


def _steps(text: str, tags: list[_Tag]) -> list[str]:
    """Numbered, non-empty reasoning lines between the table (or the opening tag) and the end of the reasoning."""
    start, end = 0, len(text)
    for tag in tags:
        if tag.name in ("think", "/type", "/table"):
            start = max(start, tag.end)
        elif tag.name in ("/think", "answer"):
            end = tag.start
            break
    lines = (_STEP.fullmatch(line.strip()) for line in text[start:end].splitlines())
    return [line[1].strip() for line in lines if line and line[1].strip()]


def _is_bare_form(text: str, tags: list[_Tag], answer: str | None, steps: list[str]) -> bool:
    names = [tag.name for tag in tags]
    in_order = names == [name for name in _ORDER if name in names]
    in_pairs = all(("/" + name in names) == (name in names) for name in ("think", "type", "table", "answer"))
    outside = text[: tags[0].start].strip() or text[tags[-1].end :].strip() if tags else True
    complete = in_order and in_pairs and {"think", "answer"} <= set(names) and not outside
    return bool(complete and answer and "\n" not in answer and 0 < len(steps) <= MAX_STEPS)


def _fault(text, tags, form, answer, chart_type, table, steps) -> str:
    """Why the completion is not well formed, or "": the first fault found."""
    order = _ORDER if form == "structured" else _ORDER[-2:]
    names = [tag.name for tag in tags]
    for name in order:
        if names.count(name) != 1:
            return f"<{name}> stands {names.count(name)} times, not once"
    if names != order:
        return "tags nested or out of order" if sorted(names) == sorted(order) else "a tag that the form does not have"
    if any(text[tag.start : tag.end] != f"<{tag.name}>" for tag in tags):
        return "tag not in lower case"
    if text[: tags[0].start].strip() or text[tags[-1].end :].strip():
        return "text outside the blocks"
    if not answer:
        return "empty answer"
    if "\n" in answer:
        return "answer of more than one line"
    if form != "structured":
        return ""
    if any(text[tags[i].end : tags[i + 1].start].strip() for i in (0, 2, 5)):
        return "text between the blocks"
    if len(steps) > MAX_STEPS:
        return f"more than {MAX_STEPS} steps"
    if not chart_type:
        return "empty type"
    if table is None:
        return "table is not JSON with columns and rows"
    return "" if steps else "no numbered step"
