"""Boxed answers: decided as math-verify decides, and unscorable, never wrong, where it does not."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from charts import math_answers
from charts.answers import RULES, grade, numeric_error
from charts.boxed import last_boxed
from charts.math_answers import Checker
from charts.parsing import parse_completion
from charts.record import ChartQuestion
from rewards import build_rewards

FILE = Path(__file__).parent / "data" / "boxed_answers.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
ENDLESS = "9^{9^{9^{9}}}"  # one multiplication of Python's, which no exception interrupts


def asked(gold: str) -> ChartQuestion:
    return ChartQuestion("q", "?", (gold,), answer_kind="math", rule="math")


def test_the_cases_are_many_and_of_named_sources():
    assert len(CASES) >= 200 and len({case["id"] for case in CASES}) == len(CASES)
    assert set(Counter(case["source"] for case in CASES)) == {
        "MATH style", "GSM8K style", "AMC and AIME style", "math-verify's README", "own"}  # fmt: skip
    assert Counter(case["correct"] for case in CASES) == {True: 148, False: 79, None: 11}


def test_every_case_is_decided_as_its_line_says():
    for case in CASES:
        answer = parse_completion(case["text"], "boxed").answer
        for rule in ("math", "strict", None):
            assert grade(answer, asked(case["gold"]), rule).correct is case["correct"], case


@pytest.mark.slow
def test_the_lines_say_what_math_verify_says_of_the_whole_completion():
    import math_verify

    options = {"parsing_timeout": None, "raise_on_error": True}
    for case in CASES:
        try:
            gold = math_verify.parse(f"\\boxed{{{case['gold']}}}", **options)
            said = math_verify.parse(case["text"], **options)
            right = math_verify.verify(gold, said, timeout_seconds=None, raise_on_error=True)
        except Exception:
            right = None
        assert right is case["correct"], case


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"It is \boxed{8}.", "8"),
        (r"\boxed{7} at first, then \boxed{8}", "8"),
        (r"\boxed{8} and then \boxed{9", "8"),  # cut off: the last complete one
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{x : x > 0\right.}", r"\left\{x : x > 0\right."),
        ("\\boxed{\\begin{matrix}1\\\\2\\end{matrix}}", r"\begin{matrix}1\\2\end{matrix}"),
        (r"\boxed{a\\}", "a\\\\"),  # a line's end before the brace that closes
        (r"\fbox{8}", "8"),
        (r"$\boxed 5$", "5"),
        (r"\boxed\frac12", r"\frac"),
        (r"\boxed{ }", None),
        (r"\boxed{", None),
        (r"\boxedness{8}", None),
        ("The answer is 8.", None),
        ("", None),
    ],
)
def test_what_the_last_box_holds(text, held):
    assert last_boxed(text) == held
    parsed = parse_completion(text, "boxed")
    assert (parsed.answer, parsed.well_formed, parsed.grade) == (held, held is not None, float(held is not None))


def test_a_box_counts_where_it_was_asked_for_alone():
    assert parse_completion(r"\boxed{8}").answer is None and parse_completion(r"\boxed{8}", "short").answer is None
    assert parse_completion("<answer>8</answer>", "boxed").answer is None


def test_an_answer_without_end_is_unscorable_and_the_next_one_is_decided(monkeypatch):
    checker = Checker(seconds=0.5)
    monkeypatch.setattr(math_answers, "decide", checker.decide)
    assert grade("7", asked("7.00")).correct is True
    process = checker._process
    verdict = grade(ENDLESS, asked("7.01"))
    assert verdict.correct is None and "did not decide within 0.5 seconds" in verdict.reason
    assert process.poll() is not None, "it is gone, and with it what it computed"
    assert grade("7.02", asked("7.02")).correct is True
    checker._process.kill()  # by whomever, between two answers
    checker._process.wait()
    assert grade("7.03", asked("7.03")).correct is True


def test_a_busy_machine_takes_no_time_from_an_answer():
    checker = Checker(seconds=0.3)
    assert checker.decide(["1"], "1") == (True, "equal for math-verify")
    time.sleep(0.6)
    assert checker.decide(["2"], "2") == (True, "equal for math-verify")


def test_an_exception_a_gold_that_cannot_be_read_and_too_much_memory_are_unscorable():
    assert grade("1", asked(r"\frac{1}{0}")).correct is None
    assert "failed: ValueError" in grade("1", asked(r"\frac{1}{0}")).reason
    unreadable = grade("1", asked(r"\text{}"))
    assert unreadable.correct is None and "cannot read the gold" in unreadable.reason
    assert grade("5" * 2001, asked("5")).correct is False, "an essay is wrong, as everywhere"
    assert grade("5", ChartQuestion("q", "?", (), answer_kind="math")).correct is None


def test_one_of_several_golds_is_enough_and_wrong_is_what_differs_from_all():
    question = ChartQuestion("q", "?", ("2", "3"), answer_kind="math", rule="math")
    assert grade("3", question).correct is True and grade("4", question).correct is False
    question = ChartQuestion("q", "?", (r"\frac{1}{0}", "3"), answer_kind="math", rule="math")
    assert grade("3", question).correct is True and grade("4", question).correct is None


def test_a_forked_process_asks_a_checker_of_its_own():
    checker = Checker()
    assert checker.decide(["1"], "1")[0] is True
    child = os.fork()
    if child == 0:
        os._exit(0 if checker.decide(["1"], "2")[0] is False else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert checker.decide(["1"], "1")[0] is True


def test_without_math_verify_nothing_is_marked(monkeypatch, tmp_path):
    (tmp_path / "math_verify.py").write_text("raise ImportError('gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(OSError, match="math-verify cannot be loaded"):
        Checker().decide(["1"], "1")


def test_the_rewards_read_the_box_and_leave_what_is_undecided():
    questions = {"a": asked("7"), "b": asked(r"\frac{1}{0}")}
    accuracy, form = (one.function for one in build_rewards("accuracy", questions, form="boxed", soft_numeric=True))
    completions = [r"so \boxed{7}", r"so \boxed{8}", "so 7", r"so \boxed{7}"]
    ids = ["a", "a", "a", "b"]
    assert accuracy(None, completions, problem_id=ids) == [1.0, 0.0, 0.0, None]
    assert form(None, completions, problem_id=ids) == [1.0, 1.0, 0.0, 1.0]
    assert numeric_error("8", questions["a"]) is None
    assert "math" in RULES
