"""The strict rule on reported answers: what it wrongly rejected or accepted, siblings of those, and near misses.

Each line of the table is a question, its gold, and answers by their old and their right verdict: those of `now_right`
were rejected and those of `now_wrong` accepted before the rule was mended; `still_right` and `still_wrong` guard it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charts.answers import grade
from charts.record import ChartQuestion

LINES = (Path(__file__).parent / "data/reported_answers.jsonl").read_text(encoding="utf-8").splitlines()
TABLE = [json.loads(line) for line in LINES]
VERDICTS = {  # the old verdict and the right one
    "now_right": (False, True),
    "now_wrong": (True, False),
    "still_right": (True, True),
    "still_wrong": (False, False),
}
ROWS = [  # (id, question, gold, answer, old verdict, right verdict)
    (f"{case['id']}: {answer}", case["question"], case["gold"], answer, *outcome)
    for case in TABLE
    for group, outcome in VERDICTS.items()
    for answer in case.get(group, ())
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_reported_answer_is_judged_rightly(row):
    _, question, gold, answer, _, right = row
    verdict = grade(answer, ChartQuestion("q", question, (gold,)), "strict")
    assert verdict.correct is right, verdict.reason


def test_the_gold_itself_is_right_in_every_line():
    for case in TABLE:
        assert grade(case["gold"], ChartQuestion("q", case["question"], (case["gold"],)), "strict").correct is True


def test_whatever_was_loosened_has_near_misses_that_stay_wrong():
    assert sum(old is not right for *_, old, right in ROWS) >= 250
    for case in TABLE:
        if "now_right" in case:
            assert "now_wrong" in case or "still_wrong" in case, case["id"]
