"""CharXiv: a copy in the schema in which it is published, its two sets of questions, golds as exact as its judge."""

from __future__ import annotations

import pytest
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature

from charts.answers import grade
from charts.charxiv import TEMPLATES
from charts.loading import load_questions
from tests.chart_copies import chart
from tests.test_hard_sets import evaluated, offline, saved  # noqa: F401 (offline: a fixture for every test)

FIGURES = [  # (templates, answers, row, column, place), (question, answer, type)
    ([1, 4, 13, 11], ["(b) Loss", "0.50", "ours, theirs", "Yes"], 0, 0, None, ("Which curve is lowest?", "(c)", 1)),
    (
        [2, 8, 15, 16],
        ["$\\alpha_t$", "Not Applicable", "10^-1", "increases"],
        2,
        1,
        None,
        ("How does it move?", "up", 2),
    ),
    ([18, 19, 17, 10], ["2 by 3", "6", "12", "3"], None, None, "bottom subplot", ("More or fewer?", "More", 2)),
    ([3, 7, 12, 14], ["Rate (%)", "2,000", "4", "0.25"], 1, 2, None, ("How many points?", "14", 4)),
    ([5, 6, 9, 1], ["2021", "-1", "10", "Not Applicable"], 0, 0, None, ("Which two?", "red, blue", 1)),
]


def charxiv() -> DatasetDict:
    """princeton-nlp/CharXiv: validation with answers, test without them."""

    def row(number: int, figure, with_answers: bool) -> dict:
        templates, answers, line, column, place, (question, answer, kind) = figure
        return {
            "category": "cs", "year": "20", "original_figure_path": "a.jpg", "original_id": "2001.1",
            "figure_path": f"images/{number}.jpg", "num_subplots": 1, "subplot_row": line, "subplot_col": column,
            "subplot_loc": place, "reasoning_q": question, "reasoning_q_source": 1, "reasoning_a_type": kind,
            "reasoning_a": answer if with_answers else None, "image": chart(number),
            **{f"descriptive_q{i}": one for i, one in enumerate(templates, 1)},
            **{f"descriptive_a{i}": one if with_answers else None for i, one in enumerate(answers, 1)},
        }  # fmt: skip

    texts = ["category", "year", "original_figure_path", "original_id", "figure_path", "subplot_loc", "reasoning_q",
             "reasoning_a", *(f"descriptive_a{i}" for i in range(1, 5))]  # fmt: skip
    numbers = ["num_subplots", "subplot_row", "subplot_col", "reasoning_q_source", "reasoning_a_type",
               *(f"descriptive_q{i}" for i in range(1, 5))]  # fmt: skip
    kinds = {name: Value("string") for name in texts} | {name: Value("int64") for name in numbers}
    made = {
        split: Dataset.from_list(
            [row(first + i, figure, split == "validation") for i, figure in enumerate(FIGURES)],
            features=Features({**kinds, "image": ImageFeature()}),
        )
        for split, first in (("validation", 0), ("test", 50))
    }
    return DatasetDict(made)


def test_charxiv_asks_four_descriptive_questions_a_chart_and_leaves_out_what_a_judge_decides(tmp_path):
    found = evaluated("charxiv-descriptive", saved(charxiv(), tmp_path / "data"))
    assert len(found) == 17 and found.skipped == []
    assert found.notes == [
        "3 of 20 questions are unscorable and left out: 2 with mathematical notation, which can be written in several "
        "ways, 1 with a trend in words"
    ]
    by_kind = {one.kind.partition(":")[0].removeprefix("descriptive "): one for one in found.questions}
    assert set(by_kind) == {str(number) for number in TEMPLATES} - {"2", "15", "16"}
    assert (
        by_kind["8"].question
        == "By how much do neighbouring ticks of the x-axis of the subplot in row 2 and column 1 differ?"
    )
    assert by_kind["4"].question == "What is the leftmost labelled tick of the x-axis of the plot?"
    assert by_kind["17"].question == "How many ticks with a label do all axes of the bottom subplot have together?"
    assert {one.rule for one in found.questions} == {"strict"} and {one.tolerance for one in found.questions} == {0.0}
    assert len({one.image_id for one in found.questions}) == 5 and found.questions[0].open_image().size == (40, 30)


@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [
        ("1", ["(b) Loss", "loss"], ["(b)", "Loss of x"]),
        ("4", ["0.5", "0.50"], ["0.51", "Not Applicable"]),
        ("13", ["ours, theirs", "Ours; theirs"], ["theirs, ours", "ours", "ours, theirs, x"]),
        ("11", ["Yes"], ["No", "Not Applicable"]),
        ("8", ["Not Applicable", "not applicable", "N/A"], ["0", "1"]),
        ("18", ["2 by 3"], ["3 by 2"]),
        ("3", ["Rate (%)"], ["Rate"]),
        ("7", ["2000", "2,000"], ["2001", "1,999"]),
        ("12", ["4", "four"], ["5"]),
        ("5", ["2021"], ["2020"]),
    ],
)  # fmt: skip
def test_charxiv_golds_are_exact_as_for_its_judge(tmp_path, number, right, wrong):
    found = evaluated("charxiv-descriptive", saved(charxiv(), tmp_path / "data")).questions
    one = next(one for one in found if one.kind.startswith(f"descriptive {number}:"))
    assert [grade(said, one).correct for said in right] == [True] * len(right)
    assert [grade(said, one).correct for said in wrong] == [False] * len(wrong)


def test_charxiv_reasoning_questions(tmp_path):
    found = evaluated("charxiv-reasoning", saved(charxiv(), tmp_path / "data"))
    assert found.notes == ["1 of 5 questions are unscorable and left out: 1 with an answer in words of its own"]
    letter, option, number, several = found.questions
    assert [grade(said, letter).correct for said in ("(c)", "c", "C", "b")] == [True, True, True, False]
    assert grade("more", option).correct and not grade("fewer", option).correct
    assert number.instruction == "Answer with a whole number." and not grade("14.2", number).correct
    assert grade("blue, red", several).correct and not grade("blue", several).correct


@pytest.mark.parametrize("name", ["charxiv-descriptive", "charxiv-reasoning"])
def test_charxiv_keeps_its_test_answers_and_does_not_train(tmp_path, name):
    path = saved(charxiv(), tmp_path / "data")
    with pytest.raises(ValueError, match="CharXiv keeps those of its test split, evaluate on validation"):
        evaluated(name, path, split="test")
    with pytest.raises(ValueError, match="for evaluation only"):
        load_questions(name, path=path)
