"""The completion format: the lenient reading of the answer, the strict reading of the form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charts.parsing import MAX_STEPS, parse_completion

TABLE = '{"columns": ["color", "value"], "rows": [["red", "37"], ["blue", "52"]]}'
GOOD = (
    f"<think>\n<type>bar</type>\n<table>{TABLE}</table>\nStep 1: red is 37.\nStep 2: 37 + 5 = 42.\n</think>\n"
    "<answer>42</answer>"
)


def test_a_well_formed_completion_is_read_whole():
    parsed = parse_completion(GOOD)
    assert parsed.well_formed
    assert parsed.reason == ""
    assert parsed.grade == 1.0
    assert (parsed.answer, parsed.chart_type) == ("42", "bar")
    assert parsed.table == {"columns": ["color", "value"], "rows": [["red", "37"], ["blue", "52"]]}
    assert parsed.steps == ["red is 37.", "37 + 5 = 42."]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>42</answer>", "42"),
        ("The answer is <answer> 42 </answer>, I think.", "42"),
        ("<answer>41</answer> no, <answer>42</answer>", "42"),
        ("<think>so</think><ANSWER>42</ANSWER>", "42"),
        ("so</think>\n<answer>42</answer>", "42"),  # the opening tag stood in the prompt
        ("<think>a</think><answer>42</answer><think>b</think>", "42"),
        ("<answer>42</answer><answer>43", "42"),
        ("<answer><answer>42</answer>", "42"),
        ("<think>a</think>\n<answer>4\n2</answer>", "4\n2"),
        ("42", None),
        ("", None),
        (None, None),
        ("<answer></answer>", None),
        ("<answer>42", None),
        ("42</answer>", None),
        ("<think><answer>42</answer></think>", None),
        ("<think>a <answer>42</answer>", None),
        ("<think>a<think>b</think><answer>42</answer></think>", None),
        ("a <answer>42</answer> b</think>", None),
        ("<think>the tag </think> <answer>41</answer> is meant</think>", None),
        ("<think>the tag </think> <answer>41</answer> is meant</think><answer>42</answer>", "42"),
        ("<answer>42<think></answer></think>", None),
    ],
)
def test_the_last_complete_answer_outside_the_reasoning_counts(text, answer):
    assert parse_completion(text).answer == answer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sure! " + GOOD, "text outside the blocks"),
        (GOOD + " Done.", "text outside the blocks"),
        (GOOD + GOOD, "<think> stands 2 times, not once"),
        (GOOD.replace("<type>bar</type>\n", ""), "<type> stands 0 times, not once"),
        (GOOD.replace("42</answer>", "4\n2</answer>"), "answer of more than one line"),
        (GOOD.replace(">42<", "><"), "empty answer"),
        (GOOD.replace("bar", " "), "empty type"),
        (GOOD.replace(TABLE, "red 37"), "table is not JSON with columns and rows"),
        (GOOD.replace("Step 1: red is 37.\nStep 2: 37 + 5 = 42.\n", ""), "no numbered step"),
        (
            GOOD.replace("<type>bar</type>", "<table><type>bar</type>").replace(f"<table>{TABLE}", TABLE),
            "tags nested or out of order",
        ),
        (GOOD.replace("think>", "THINK>"), "tag not in lower case"),
        (GOOD.replace("Step 1", "<answer>42</answer>Step 1"), "<answer> stands 2 times, not once"),
        (GOOD.replace("</type>\n", "</type> hm\n"), "text between the blocks"),
        (GOOD.replace("Step 1: red is 37.\n", "Step 1: so\n" * (MAX_STEPS + 1)), "more than 100 steps"),
        ("", "<think> stands 0 times, not once"),
    ],
)
def test_what_is_not_well_formed_says_why(text, reason):
    parsed = parse_completion(text)
    assert not parsed.well_formed
    assert parsed.reason == reason
    assert parsed.grade < 1.0


def test_an_untidy_completion_keeps_its_answer():
    assert parse_completion("Sure! " + GOOD).answer == "42"
    assert parse_completion(GOOD.replace(TABLE, "red 37")).answer == "42"


def test_the_grade_pays_for_parts_in_order_and_for_nothing_else():
    no_table = GOOD.replace(f"<table>{TABLE}</table>\n", "")
    bare = no_table.replace("<type>bar</type>\n", "")
    assert parse_completion(no_table).grade == 0.75
    assert parse_completion(bare).grade == 0.5
    for worthless in (
        "<answer>42</answer>",
        "<think></think><answer>42</answer>",
        GOOD + GOOD,
        "Hm. " + bare,
        bare + "<answer>",
    ):
        assert parse_completion(worthless).grade == 0.0


def test_the_short_form_is_an_answer_block_and_nothing_else():
    assert parse_completion("<answer>42</answer>\n", "short").well_formed
    assert parse_completion("<answer>42</answer>\n", "short").grade == 1.0
    assert not parse_completion("It is <answer>42</answer>", "short").well_formed
    assert not parse_completion(GOOD, "short").well_formed


@pytest.mark.parametrize(
    "table",
    [
        "[1, 2]",
        '{"columns": [], "rows": []}',
        '{"columns": ["a"], "rows": [1]}',
        '{"rows": []}',
        "[" * 5000,
        '{"columns": ["a"], "rows": [[{}]]}',
        "null",
    ],
)
def test_a_table_of_another_shape_is_no_table(table):
    assert parse_completion(GOOD.replace(TABLE, table)).table is None


def test_a_repeated_block_is_ambiguous_and_counts_for_nothing():
    parsed = parse_completion(GOOD.replace("<type>bar</type>", "<type>bar</type><type>line</type>"))
    assert parsed.chart_type is None


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<type>",
        "</type>",
        "<table>",
        "</table>",
        "<answer>",
        "</answer>",
        "42",
        "Step 1: a\n",
        " ",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=14))
def test_no_text_breaks_the_parser_and_a_well_formed_one_has_everything(pieces):
    parsed = parse_completion("".join(pieces))
    if parsed.well_formed:
        assert parsed.answer
        assert parsed.chart_type
        assert parsed.table
        assert parsed.steps


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES.filter(lambda piece: piece != "</think>") | st.text(max_size=5), max_size=10))
def test_nothing_inside_the_reasoning_is_the_answer(pieces):
    inside = "".join(pieces)
    opened = inside.count("<think>")  # each needs its own closing tag
    assert parse_completion(f"<think>{inside}{'</think>' * opened}</think>").answer is None
    assert parse_completion(f"<think>{inside}{'</think>' * opened}</think><answer>7</answer>").answer == "7"
