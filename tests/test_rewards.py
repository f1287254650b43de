"""The rewards: their values by hand, their range, and None where the gold is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from charts.record import ChartQuestion
from rewards import PRESETS, build_rewards
from rewards.chart_types import family, same_type
from rewards.completions import copies_a_placeholder, distinct_step_share, parse, text_of
from rewards.functions import rouge_l
from rewards.tables import rms_f1

GOLD_TABLE = {"columns": ["color", "value"], "rows": [["red", "37"], ["blue", "52"], ["green", "40"]]}
QUESTION = ChartQuestion(
    "q",
    "What is the value of red?",
    ("40",),
    chart_type="bar",
    table=GOLD_TABLE,
    reasoning="Read the bar of red. It is 40.",
)
BARE = ChartQuestion("bare", "What is it?", ())
QUESTIONS = {"q": QUESTION, "bare": BARE, "exact": replace(QUESTION, id="exact", tolerance=0.0)}


def completion(answer="40", kind="bar", table=GOLD_TABLE, steps=("Read the bar of red.", "It is 40.")):
    numbered = "\n".join(f"Step {i}: {step}" for i, step in enumerate(steps, 1))
    data = json.dumps(table)
    return f"<think>\n<type>{kind}</type>\n<table>{data}</table>\n{numbered}\n</think>\n<answer>{answer}</answer>"


def rewarded(text, name="q", preset="chart-rvr", tokens=100, **settings):
    """Every reward of one completion, by name."""
    columns = {"prompts": [None], "completions": [[{"role": "assistant", "content": text}]]}
    built = build_rewards(preset, QUESTIONS, **settings)
    return {r.name: r.function(**columns, completion_ids=[[1] * tokens], problem_id=[name])[0] for r in built}


def test_a_right_completion_earns_everything():
    assert rewarded(completion()) == {
        "format": 1.0, "accuracy": 1.0, "length": 1.0, "tags": 1.0, "chart_type": 1.0, "table": 1.0, "process": 1.0
    }  # fmt: skip


def test_functions_carry_the_names_of_their_metrics():
    for preset in PRESETS:
        for reward in build_rewards(preset, QUESTIONS):
            assert reward.function.__name__ == reward.name
            assert 0 < reward.weight <= 1


def test_accuracy_dominates_every_preset():
    for preset, parts in PRESETS.items():
        weights = dict(parts)
        assert weights.pop("accuracy") > sum(weights.values()), preset


def test_format_is_printed_on_a_scale_of_two():
    assert {r.name: r.scale for r in build_rewards("accuracy", QUESTIONS)} == {"accuracy": 1.0, "format": 2.0}


def test_what_has_no_gold_is_none_and_the_rest_is_not():
    earned = rewarded(completion(), "bare")
    assert [name for name, value in earned.items() if value is None] == ["accuracy", "chart_type", "table", "process"]


def test_no_text_leads_out_of_the_range():
    for text in (
        "",
        "<answer>40",
        completion() * 3,
        completion(steps=["so"] * 500),
        completion(answer="1e999"),
        "x" * 9_999,
    ):
        for tokens in (0, 1, 5_000):
            assert all(0.0 <= value <= 1.0 for value in rewarded(text, tokens=tokens).values())


def test_completions_are_strings_or_conversations():
    accuracy = build_rewards("accuracy", QUESTIONS)[0].function
    parts = [{"type": "text", "text": "<answer>40"}, {"type": "text", "text": "</answer>"}]
    given = [
        "<answer>40</answer>",
        [{"role": "assistant", "content": "<answer>41.9</answer>"}],
        [{"content": parts}],
        [],
    ]
    assert accuracy(None, given, None, problem_id=["q"] * 4) == [1.0, 1.0, 1.0, 0.0]
    assert text_of([{"role": "assistant", "content": None}]) == ""


def test_accuracy_follows_the_rule_it_was_built_with():
    year = {"y": ChartQuestion("y", "In which year was it?", ("2010",))}
    said = {"prompts": None, "completions": ["<answer>2011</answer>"], "problem_id": ["y"]}
    assert build_rewards("accuracy", year, rule="strict")[0].function(**said) == [0.0]
    assert build_rewards("accuracy", year, rule="relaxed")[0].function(**said) == [1.0]


def test_soft_credit_grows_with_nearness_and_stays_below_the_threshold():
    earned = [rewarded(completion(a), soft_numeric=True)["accuracy"] for a in ("40", "43", "60", "80", "Red")]
    assert earned == pytest.approx([1.0, 0.499 / 1.075, 0.499 / 1.5, 0.499 / 2, 0.0])
    assert all(value < 0.5 for value in earned[1:])
    assert rewarded(completion("41"), "exact", soft_numeric=True)["accuracy"] == 0.0


@pytest.mark.parametrize(("tokens", "earned"), [(1, 1.0), (500, 1.0), (750, 0.5), (1000, 0.0), (2000, 0.0)])
def test_length_falls_from_half_the_limit_to_the_limit(tokens, earned):
    assert rewarded(completion(), tokens=tokens, max_completion_tokens=1000)["length"] == earned


def test_length_pays_for_different_steps_and_only_in_form():
    assert rewarded(completion(steps=["so", "so", "so", "it is 40"]))["length"] == 0.5
    assert rewarded("<answer>40</answer>")["length"] == 0.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bar", "bar"), ("Stacked Bar Chart", "bar"), ("column graph", "bar"), ("h_bar", "bar"), ("v_bar", "bar"),
        ("vbar_categorical", "bar"), ("dot_line", "scatter"),
        ("line chart", "line"), ("multi-line", "line"), ("Doughnut", "donut"),
        ("scatter plot", "scatter"), ("box plot", "box"), ("bar and line combination", "combination"),
        ("bar or line", None), ("bar line pie scatter", None), ("", None), (None, None), ("the kind of chart", None),
    ],
)  # fmt: skip
def test_many_words_name_few_types(name, kind):
    assert family(name) == kind


def test_an_unknown_gold_type_is_matched_by_its_words():
    assert same_type("Gantt", "gantt")
    assert not same_type("bar", "gantt")
    assert not same_type(None, "gantt")


def table(*rows, columns=("color", "value")):
    return {"columns": list(columns), "rows": [list(row) for row in rows]}


ALL = (("red", "37"), ("blue", "52"), ("green", "40"))


@pytest.mark.parametrize(
    ("given", "f1"),
    [
        (table(*ALL), 1.0),
        (table(*ALL[::-1]), 1.0),
        (table(("value", "37", "52", "40"), columns=("color", "red", "blue", "green")), 1.0),  # transposed
        (table(*ALL[:1]), 0.5),  # precision 1, recall 1/3
        (table(*ALL, ("pink", "1"), ("gray", "2"), ("cyan", "3")), 2 / 3),  # precision 1/2, recall 1
        (table(*ALL[:2], ("green", "90")), 2 / 3),  # one value wrong
        (table(*ALL[:2], ("green", "42")), (2 + 0.95) / 3),  # 5 % off
        (table(*ALL[:2], ("green", "")), 2 * 1 * (2 / 3) / (1 + 2 / 3)),
        (table(*ALL[:2], ("green", "x")), 2 / 3),
        (table(), 0.0),
        (None, 0.0),
        (table(*(("red", "37"),) * 1001), 0.0),
    ],
)
def test_tables_are_worth_their_f1(given, f1):
    assert rms_f1(given, GOLD_TABLE) == pytest.approx(f1)


def test_separators_and_units_in_cells_are_spelling():
    assert rms_f1(table(("a", "1,200"), ("b", "5%")), table(("a", "1200"), ("b", "5 %"))) == pytest.approx(1.0)


def test_a_gold_table_without_cells_is_no_gold():
    assert rms_f1(table(*ALL), table()) is None


def test_rouge_l_by_hand():
    assert rouge_l("the bar of red is 40", "the bar of red is 40") == 1.0
    assert rouge_l("red is 40", "the red bar is 40") == pytest.approx(2 * 3 / (3 + 5))
    assert rouge_l("40 is red", "red is 40") == pytest.approx(2 * 1 / 6)
    assert rouge_l("", "red") == 0.0


def test_copies_duplicates_and_types_are_logged():
    logged = {}
    texts = [completion(), completion(kind="line", answer="your answer"), completion(steps=["so", "so"]), "nothing"]
    build_rewards("accuracy", QUESTIONS)[1].function(None, texts, log_metric=logged.__setitem__)
    assert logged == {
        "completions/placeholder_copies": 0.25,
        "completions/duplicate_steps": 0.125,
        "completions/type/bar": 0.5,
        "completions/type/line": 0.25,
        "completions/type/none": 0.25,
    }


@pytest.mark.parametrize(
    "answer",
    [
        "<answer here>",
        "your answer",
        "...",
        "[answer]",
        "the final answer",
        "name the kind of chart",
        "[your answer here]",
        "[final_answer]",
        "[Chart Type]",
        "[single word or phrase]",
        "[column names]",
    ],
)
def test_placeholders_and_words_of_the_prompt_are_copies(answer):
    assert copies_a_placeholder(parse(completion(answer)))


@pytest.mark.parametrize(
    "answer", ["40", "red", "Chart of the year", "-5 %", "[2010, 2011]", "[blue]", "[Asia]", "[line chart]", "[A]"]
)
def test_answers_are_not_copies(answer):
    assert not copies_a_placeholder(parse(completion(answer)))


def test_distinct_steps_differ_in_any_word():
    assert distinct_step_share(parse(completion(steps=["red 8", "blue 8", "Red: 8"]))) == pytest.approx(2 / 3)


def test_an_unknown_preset_is_one_clear_line():
    with pytest.raises(ValueError, match="unknown reward preset 'all': choose one of accuracy, chart-rvr"):
        build_rewards("all", QUESTIONS)


def test_the_short_prompt_is_judged_by_its_own_form():
    assert rewarded("<answer>40</answer>", preset="accuracy", form="short") == {"accuracy": 1.0, "format": 1.0}
