"""CharXiv: four descriptive questions a chart from nineteen templates, and one reasoning question.

The set's own figures are a judge's (GPT-4o), who accepts other words and other ways to write a formula. Here an answer
is right by the strict rule, without tolerance; a question whose gold only such a judge can decide on is unscorable: all
trends, golds with mathematical notation, and reasoning answers in words that stand neither in the chart nor in the
question. Which questions those are depends on template and gold, never on an answer. The templates are in our words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from charts.judged import BRACKETED, NOTATION, NOTATION_REASON

NONE = "Not Applicable"
_NO_LINES = f"Grid lines, tick marks and auxiliary lines do not count. {NONE} where it is no line plot."
_TICK = "Give the tick alone, without units or scales that are written elsewhere."
_STEPS = f"{NONE} where the ticks are no numbers or not evenly spaced."
_LEGEND = f"Only what concerns this plot counts, wherever the legend stands. {NONE} without a legend."
_COLOURS = f"Without a percent sign. {NONE} without a colour bar."
_X = "Of two x-axes the lower one counts, and one shared with other plots counts too."
_Y = "Of two y-axes the left one counts, and one shared with other plots counts too."
# number of the template: question, instruction, kind of answer
TEMPLATES = {
    1: ("What is the title of {}?", f"As it is written; {NONE} without a title or with a letter alone.", "title"),
    2: ("What is the label of the x-axis of {}?", f"{_X} {NONE} without a label.", "name"),
    3: ("What is the label of the y-axis of {}?", f"{_Y} {NONE} without a label.", "name"),
    4: ("What is the leftmost labelled tick of the x-axis of {}?", f"{_X} {_TICK}", "value"),
    5: ("What is the rightmost labelled tick of the x-axis of {}?", f"{_X} {_TICK}", "value"),
    6: ("What is the lowest labelled tick of the y-axis of {}?", f"{_Y} {_TICK}", "value"),
    7: ("What is the highest labelled tick of the y-axis of {}?", f"{_Y} {_TICK}", "value"),
    8: ("By how much do neighbouring ticks of the x-axis of {} differ?", f"{_X} {_STEPS}", "value"),
    9: ("By how much do neighbouring ticks of the y-axis of {} differ?", f"{_Y} {_STEPS}", "value"),
    10: ("How many lines are there in {}?", _NO_LINES, "count"),
    11: ("Do any lines of {} intersect?", f"Answer Yes or No. {_NO_LINES}", "yes/no"),
    12: ("How many labels does the legend of {} have?", _LEGEND, "count"),
    13: ("What are the labels in the legend of {}?",
         f"From top to bottom, then from left to right, with commas between. {_LEGEND}", "ordered list"),
    14: ("By how much do the largest and the smallest tick of the colour bar of {} differ?", _COLOURS, "value"),
    15: ("What is the largest tick of the colour bar of {}?", _COLOURS, "value"),
    16: ("What is the general trend of {} from left to right?", "In a few words.", "trend"),
    17: ("How many ticks with a label do all axes of {} have together?", "Shared axes count too.", "count"),
    18: ("How are the subplots laid out?", "Write rows by columns: n by m. One plot is 1 by 1.", "layout"),
    19: ("How many subplots are there?", "One plot alone is 1.", "count"),
}  # fmt: skip
LETTER = re.compile(r"\(?([A-Za-z])\)?")
NO_ANSWER = "no answer: CharXiv keeps those of its test split, evaluate on validation"


def read_descriptive(row: dict, index: int, rows: int) -> Iterator[dict]:
    plot = _plot(row)
    for part in range(1, 5):
        number, gold = row.get(f"descriptive_q{part}"), row.get(f"descriptive_a{part}")
        if number not in TEMPLATES:
            raise ValueError(f"descriptive_q{part} {number!r} is no number of a template, 1 to {len(TEMPLATES)}")
        if gold is None:
            raise ValueError(NO_ANSWER)
        question, instruction, kind = TEMPLATES[number]
        yield {
            "question": question.format(plot),
            "instruction": instruction,
            "kind": f"descriptive {number}: {kind}",
            "rule": "strict",
            "tolerance": 0.0,
            **_descriptive_gold(kind, str(gold).strip()),
        }


def _plot(row: dict) -> str:
    place, line, column = row.get("subplot_loc"), row.get("subplot_row"), row.get("subplot_col")
    if line == 0:
        return "the plot"
    if place:
        return str(place) if str(place).lower().startswith("the ") else f"the {place}"
    return f"the subplot in row {line} and column {column}"


def _descriptive_gold(kind: str, gold: str) -> dict:
    if kind == "trend":
        return {"unscorable": "a trend in words", "answers": ()}
    if NOTATION.search(gold):
        return {"unscorable": NOTATION_REASON, "answers": ()}
    if gold == NONE:
        return {"answers": (NONE, "N/A"), "answer_kind": "text"}
    answers = [gold]
    if kind == "title" and (lettered := BRACKETED.fullmatch(gold)):
        answers.append(lettered[1])
    text = {"title": "text", "name": "text", "layout": "text", "value": ""}
    return {"answers": tuple(answers), "answer_kind": text.get(kind, kind)}


def read_reasoning(row: dict, index: int, rows: int) -> Iterator[dict]:
    question, gold, form = row.get("reasoning_q"), row.get("reasoning_a"), row.get("reasoning_a_type")
    if gold is None:
        raise ValueError(NO_ANSWER)
    if form not in (1, 2, 3, 4):
        raise ValueError(f"reasoning_a_type {form!r}: 1 to 4 are known")
    gold, asked = str(gold).strip(), str(question or "")
    kinds = {1: "text in the chart", 2: "text", 3: "number in the chart", 4: "number"}
    instructions = {
        1: "Use the words of the chart, whole names, with commas between several.",
        2: "Where the question has options, answer with one of them.",
        3: "Answer with a number that is written in the chart.",
        4: "Answer with " + ("a whole number." if "." not in gold else f"{len(gold.rpartition('.')[2])} decimals."),
    }
    yield {
        "question": asked,
        "instruction": instructions[form],
        "kind": f"reasoning: {kinds[form]}",
        "rule": "strict",
        "tolerance": 0.0,
        **_reasoning_gold(form, gold, asked),
    }


def _reasoning_gold(form: int, gold: str, asked: str) -> dict:
    yes_no = gold.lower() in ("yes", "no")
    if form == 2 and not yes_no and gold.casefold() not in asked.casefold():
        return {"unscorable": "an answer in words of its own", "answers": ()}
    if NOTATION.search(gold):
        return {"unscorable": NOTATION_REASON, "answers": ()}
    if form > 2:
        return {"answers": (gold,), "answer_kind": "number"}
    if letter := LETTER.fullmatch(gold):
        return {"answers": (gold, letter[1], f"({letter[1]})"), "answer_kind": "text"}
    kind = "yes/no" if yes_no else "list" if ", " in gold else "text"
    lettered = BRACKETED.fullmatch(gold)
    return {"answers": (gold, *([lettered[1]] if lettered else [])), "answer_kind": kind}
