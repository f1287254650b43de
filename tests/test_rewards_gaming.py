"""Attempts to earn without answering: each earns nothing, or no more than the honest wrong completion."""

from __future__ import annotations

import pytest

from charts.prompt import PROMPTS
from rewards.tables import rms_f1
from tests.test_rewards import ALL, GOLD_TABLE, completion, rewarded, table

HONEST_WRONG = rewarded(completion("90"))


def total(text, **settings):
    return sum(value or 0.0 for value in rewarded(text, **settings).values())


TAGS = "<think></think><type></type><table></table><answer></answer>"

WORTHLESS = {
    "tag spam": TAGS * 50,
    "one tag of each and nothing in them": "<think><type></type><table></table></think><answer></answer>",
    "the prompt copied": PROMPTS["structured"],
    "the prompt copied inside the reasoning": f"<think>{PROMPTS['structured']}</think>",
    "the answer inside the reasoning": "<think>Step 1: <answer>40</answer></think>",
    "the answer in reasoning that never ends": "<think>Step 1: so <answer>40</answer>",
    "an answer that is never closed": "<think>Step 1: so</think><answer>40",
    "no tags at all": "The value is 40.",
    "nothing": "",
    "ten thousand tags": "<answer>" * 10_000,
}


@pytest.mark.parametrize("text", WORTHLESS.values(), ids=WORTHLESS.keys())
def test_this_earns_nothing_at_all(text):
    earned = rewarded(text)
    assert {name: value for name, value in earned.items() if value} == {}


WRONG_ANSWERS = {
    "several answers": "40 or 50",
    "a list of guesses": "30, 40, 50",
    "a range around the answer": "35-45",
    "an inequality": "> 30",
    "every number": " ".join(map(str, range(100))),
    "infinity": "inf",
    "not a number": "nan",
    "a formula": "39+1",
    "look-alike letters": "4О",  # a Cyrillic capital O
    "circled digits": "④⓪",
    "a superscript": "4⁰",
    "percent of a plain number": "4000%",
    "hidden characters": "4\u200b0",
    "more markup": "<b>40</b>",
    "an essay that mentions it": "The bars show many values, one of them is 40, another is 50",
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
def test_this_answer_is_not_right(answer):
    assert rewarded(completion(answer))["accuracy"] == 0.0
    assert rewarded(completion(answer), soft_numeric=True)["accuracy"] <= 0.5


def test_only_the_last_of_many_answers_counts_and_the_form_is_lost():
    earned = rewarded(completion("40") + "<answer>90</answer>")
    assert earned["accuracy"] == earned["format"] == earned["length"] == earned["tags"] == 0.0


def test_an_empty_think_earns_only_its_answer():
    earned = rewarded("<think></think><answer>40</answer>")
    assert {name: value for name, value in earned.items() if value} == {"accuracy": 1.0}


def test_ten_thousand_steps_earn_less_than_two():
    spam = completion("90", steps=["so"] * 10_000)
    assert total(spam, tokens=40_000) < total(completion("90"))
    assert rewarded(spam, tokens=40_000)["format"] == 0.0
    assert rewarded(spam, tokens=40_000)["length"] == 0.0


def test_step_markers_without_content_are_no_steps():
    text = completion().replace("Step 1: Read the bar of red.\nStep 2: It is 40.", "Step 1:\nStep 2:\nStep 3:")
    assert rewarded(text)["format"] == 0.0
    assert rewarded(text)["length"] == 0.0


def test_padding_does_not_pay():
    assert rewarded(completion("90"), tokens=1_000)["length"] < HONEST_WRONG["length"]


def test_a_tiny_table_loses_to_the_whole_one():
    assert rms_f1(table(ALL[0]), GOLD_TABLE) == pytest.approx(0.5)
    assert rms_f1(table(("red", "1")), GOLD_TABLE) == 0.0


def test_a_table_of_every_value_for_every_bar_loses_to_the_whole_one():
    guesses = [(color, str(value)) for color, _ in ALL for value in range(100)]
    assert rms_f1(table(*guesses), GOLD_TABLE) < 0.05


def test_repeating_the_right_row_does_not_pay():
    assert rms_f1(table(*[ALL[0]] * 50), GOLD_TABLE) < 0.1


def test_naming_every_type_names_none():
    assert rewarded(completion(kind="bar line pie scatter"))["chart_type"] == 0.0
    assert rewarded(completion(kind="bar or line"))["chart_type"] == 0.0


def test_two_types_or_two_tables_are_ambiguous():
    text = completion().replace("<type>bar</type>", "<type>line</type><type>bar</type>")
    assert rewarded(text)["chart_type"] == rewarded(text)["format"] == 0.0


def test_word_salad_is_no_reasoning():
    salad = completion(steps=["40 is It red of bar the Read " * 20])
    assert rewarded(salad)["process"] < 0.2


def test_repeated_reasoning_is_not_better_reasoning():
    again = completion(steps=["Read the bar of red.", "It is 40."] * 10)
    assert rewarded(again)["process"] <= rewarded(completion())["process"]
    assert rewarded(again)["length"] < rewarded(completion())["length"]
