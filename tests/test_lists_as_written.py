"""Lists in the ways that models and data sets write them: as Python or JSON, with odd items, on several lines."""

from __future__ import annotations

import warnings

import pytest

from charts.answers import RULES, grade
from charts.record import ChartQuestion


def strict(answer: str, gold: str, kind: str = "", text: str = "Which bars are shown?") -> bool | None:
    return grade(answer, ChartQuestion("q", text, (gold,), answer_kind=kind), "strict").correct


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("odd", ["[{[1, 2]}, {[3]}]", "[{[1]: 2}, 3]", "[1or 2, 3]", "['a' 'b', 0x]"])
def test_what_is_no_list_of_python_raises_nothing_and_says_nothing(rule, odd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for answer, gold in ((odd, "[1, 2]"), ("[1, 2]", odd)):
            grade(answer, ChartQuestion("q", "Which?", (gold,), rule=rule))


@pytest.mark.parametrize("gold", ["0." + "1234567890" * 4, "12345678901234567890." + "1" * 21, "-0." + "3" * 60])
def test_a_number_of_endless_digits_is_its_own_text(gold):
    assert strict(gold, gold) and not strict(gold[:-1], gold) and not strict("0.12", gold)


def test_a_gold_list_may_stand_on_several_lines_too():
    for gold in ("red\nblue", "- red\n- blue", "red;\nblue"):
        assert strict("blue, red", gold, "list") and strict("red\nblue", gold, "list")
        assert strict("red\nblue", gold, "ordered list") and not strict("blue\nred", gold, "ordered list")
        assert not strict("red, green", gold, "list")
    assert strict("red, blue", "[red,\n blue]", "list")
    assert strict("-5; -3", "-5\n-3", "list") and not strict("5; 3", "-5\n-3", "list")
