"""Adapters of the chart sets that today's models find hard. What each looks like, and its traps: charts/README.md."""

from __future__ import annotations

import re

from charts import charxiv, file_layouts
from charts.adapter import Adapter, Fields, Place
from charts.answer_lists import written
from charts.choices import LETTERS as LABELS
from charts.choices import accepted_choice, instruction_for, shown
from charts.custom import WANTED, read_custom
from charts.judged import NOTATION, NOTATION_REASON, short_items
from charts.values import accepted, plain, python_literal

MUSEUM_TOLERANCE = 0.005  # its judge calls 90.05 and 90.00 equal, 90.05 and 91.05 not
_NOTE = re.compile(r"\s*NOTE\s*:.*", re.DOTALL)
_OPTIONS = re.compile(r"following options (\[.*?\])\.?\s*Begin", re.DOTALL)


def read_chartmuseum(row: dict, index: int, rows: int) -> Fields:
    """Short answers that a judge compares: years exactly, other numbers to a fraction of a percent."""
    golds = accepted(row.get("answer"))
    judged = any(NOTATION.search(gold) for gold in golds)
    yield {
        "question": str(row.get("question") or ""),
        "answers": golds,
        "kind": str(row.get("reasoning_type") or ""),
        "rule": "strict",
        "tolerance": MUSEUM_TOLERANCE,
        **({"unscorable": NOTATION_REASON} if judged else {}),
    }


def read_reachqa(row: dict, index: int, rows: int) -> Fields:
    """Answers by a language model, half of them sentences: short ones are compared, the others are unscorable."""
    golds = accepted(row.get("answer"))
    items = short_items(golds[0]) if golds else []
    several = len(items) > 1
    yield {
        "question": str(row.get("question") or ""),
        "answers": (written(items) if several else items[0],) if items else golds,
        "answer_kind": "list" if several else "",
        "kind": str(row.get("qa_type") or row.get("QA_type") or ""),
        "chart_type": str(row.get("chart_type") or row.get("minor_chart_type") or "") or None,
        "instruction": "Answer in a few words, with commas between several answers.",
        "rule": "strict",
        **({"unscorable": "an answer in sentences"} if golds and not items else {}),
    }


def read_like_custom(row: dict, index: int, rows: int) -> Fields:
    """Conversations and golds as other trainers keep them (charts/custom.py)."""
    for fields in read_custom(row, index, rows):
        judged = any(NOTATION.search(gold) for gold in fields["answers"])
        yield {**fields, **({"unscorable": NOTATION_REASON} if judged else {})}


def read_chartinsights(row: dict, index: int, rows: int) -> Fields:
    """One of the four forms of a question; what it says of the form of the answer is ours to say, and is cut off."""
    form, text, gold = row.get("form"), str(row.get("question") or ""), row.get("answer")
    question = _NOTE.sub("", text)
    fields: dict = {"question": question, "kind": f"{row.get('type')}: {form}", "rule": "strict"}
    fields["chart_type"] = row.get("image_type")
    if row.get("image") is None or form == "Corrective_question":
        reason = "a sentence to be corrected" if row.get("image") else "a chart that is not among the files"
        yield {**fields, "answers": (), "unscorable": reason}
    elif form == "Multiple_choice":
        choices = _options(text)
        same = [label for label, option in choices.items() if option == _words(gold, row)]
        if len(same) != 1:
            raise ValueError(f"the answer {str(gold)[:60]!r} is none of its options: {'; '.join(shown(choices))}")
        asked = {"choices": shown(choices), "instruction": instruction_for(choices)}
        yield {**fields, **asked, "answers": accepted_choice(same[0], choices), "answer_kind": "text"}
    elif form == "Judgement_question":
        yield {**fields, "answers": accepted(gold), "answer_kind": "yes/no", "instruction": "Answer Yes or No."}
    else:
        several = isinstance(gold, list) and len(gold) > 1 and not _is_range(row)
        kind = "" if not several else "ordered list" if row.get("type") == "order" else "list"
        words = written(gold) if several and isinstance(gold, list) else _words(gold, row)
        yield {**fields, "answers": (words,) if words else (), "answer_kind": kind}


def _options(text: str) -> dict[str, str]:
    found = _OPTIONS.search(text)
    options = python_literal(found[1]) if found else None
    if not isinstance(options, list) or not 2 <= len(options) <= len(LABELS):
        raise ValueError("the question names no options")
    is_range = "range" in text.partition("NOTE")[0]
    return dict(zip(LABELS, (_joined(option, is_range) for option in options), strict=False))


def _words(gold: object, row: dict) -> str:
    return _joined(gold, _is_range(row))


def _joined(value: object, is_range: bool) -> str:
    if not isinstance(value, list | tuple):
        return "" if value is None else str(plain(value)).strip()
    between = " to " if is_range and len(value) == 2 else ", "
    return between.join(str(plain(one)) for one in value)


def _is_range(row: dict) -> bool:
    return row.get("type") in ("determine range", "distribution")


CHARXIV = "princeton-nlp/CharXiv"
HARD_SETS = (
    Adapter(
        "charxiv-descriptive",
        "charts of arXiv papers, four questions each about what is written and drawn; evaluation only",
        charxiv.read_descriptive,
        wanted="image, descriptive_q1 to 4, descriptive_a1 to 4, subplot_row, subplot_col, subplot_loc",
        evaluate=Place(CHARXIV, "validation"),
    ),
    Adapter(
        "charxiv-reasoning",
        "charts of arXiv papers, one question each that needs reasoning; evaluation only",
        charxiv.read_reasoning,
        wanted="image, reasoning_q, reasoning_a, reasoning_a_type",
        evaluate=Place(CHARXIV, "validation"),
    ),
    Adapter(
        "chartmuseum",
        "1,162 questions by researchers on charts of 184 web sites; evaluation only",
        read_chartmuseum,
        wanted="image, question, answer",
        evaluate=Place("lytang/ChartMuseum", "test"),
    ),
    Adapter(
        "chartverse",
        "40,000 generated charts and questions that are hard and solvable (ChartVerse-RL-40K); training only",
        read_like_custom,
        wanted="images, prompt, reward_model",
        train=Place("opendatalab/ChartVerse-RL-40K", "train"),
    ),
    Adapter(
        "chartrqa",
        "generated reasoning questions on one chart or several (Chart-R1); local files only",
        read_like_custom,
        wanted=WANTED,
        train=Place(None, "train"),
        evaluate=Place(None, "test"),
        layout=file_layouts.jsonl,
    ),
    Adapter(
        "reachqa",
        "generated charts, questions that recognise and questions that reason",
        read_reachqa,
        wanted="image, question, answer",
        train=Place("hewei2001/ReachQA", "train"),
        evaluate=Place("hewei2001/ReachQA", "test"),
    ),
    Adapter(
        "chartinsights",
        "ten low-level tasks in four forms, on charts with their tables; local files only, evaluation only",
        read_chartinsights,
        wanted="image, question, answer, form",
        evaluate=Place(None, "test"),
        layout=file_layouts.chartinsights,
    ),
)
