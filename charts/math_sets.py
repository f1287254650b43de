"""Adapters of mathematical problems in words: MATH, GSM8K, AMC and AIME, asked with the boxed prompt.

The hub ids of MATH, AMC and AIME are those of arXiv 2506.01347.
"""

from __future__ import annotations

import re

from charts.adapter import Adapter, Fields, Place
from charts.boxed import last_boxed
from charts.values import first

_CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


def read_math(row: dict, index: int, rows: int) -> Fields:
    """The gold is what the solution's last box holds; copies of a part, such as MATH-500, have it in a column."""
    solution = str(row.get("solution") or "")
    gold = last_boxed(solution) if row.get("answer") in (None, "") else str(row["answer"]).strip()
    if row.get("problem") and gold is None:
        raise ValueError("no box in the solution" if solution else "no solution")
    kind = str(first(row, "type", "subject") or "")
    yield _asked(row.get("problem"), gold) | {"kind": kind, "reasoning": solution or None}


def read_gsm8k(row: dict, index: int, rows: int) -> Fields:
    """The gold is the number behind ####; the solution before it has notes for a calculator."""
    solution, mark, gold = str(row.get("answer") or "").rpartition("####")
    if row.get("question") and not mark:
        raise ValueError("no #### in the answer")
    gold = gold.strip().lstrip("$").replace(",", "")
    yield _asked(row.get("question"), gold) | {"reasoning": _CALCULATION.sub("", solution).strip() or None}


def read_contest(row: dict, index: int, rows: int) -> Fields:
    """AMC and AIME: the answer is a whole number, in some copies as a float, or with zeros in front."""
    answer = row.get("answer")
    gold = str(answer).strip() if answer is not None else ""
    if re.fullmatch(r"-?\d+(\.0+)?", gold):
        gold = str(int(gold.partition(".")[0]))
    yield _asked(first(row, "problem", "question"), gold)


def _asked(question: object, gold: str | None) -> dict:
    return {
        "question": str(question or "").strip(),
        "answers": (gold,) if gold else (),
        "answer_kind": "math",
        "rule": "math",
    }


def _set(name: str, about: str, read, wanted: str, train: Place | None, evaluate: Place) -> Adapter:
    return Adapter(name, about, read, train, evaluate, needs_image=False, wanted=wanted, prompt="boxed")


MATH_SETS = (
    _set(
        "math",
        "competition mathematics: 7,500 problems to train on, 5,000 to test",
        read_math,
        "problem, solution (or answer)",
        Place("TianHongZXY/MATH", "train"),
        Place("TianHongZXY/MATH", "test"),
    ),
    _set(
        "gsm8k",
        "sums in words: 7,473 problems to train on, 1,319 to test",
        read_gsm8k,
        "question, answer",
        Place("openai/gsm8k", "train", "main"),
        Place("openai/gsm8k", "test", "main"),
    ),
    _set(
        "amc",
        "40 problems of AMC 2023; evaluation only",
        read_contest,
        "problem or question, answer",
        None,
        Place("TianHongZXY/amc23", "test"),
    ),
    _set(
        "aime",
        "30 problems of AIME 2025; evaluation only",
        read_contest,
        "problem or question, answer",
        None,
        Place("TianHongZXY/AIME2025", "test"),
    ),
)
