"""Synthetic charts: what is drawn is what is asked, splits share no chart, guessing does not help."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from charts.synthetic import (
    AXIS_TOP,
    COLORS,
    KINDS,
    LABELS,
    SPLITS,
    VALUES,
    BarChart,
    ask,
    completion_of,
    draw,
    synthetic_questions,
    worked_examples,
)

CHART = BarChart(("red", "blue", "green", "gray"), (38, 12, 44, 20), gridlines=True, framed=False, bar_share=0.7)


def contents(question) -> tuple:
    return tuple(map(tuple, question.table["rows"]))


def solve(question) -> str:
    """The answer from the gold table alone, written without a look at how questions are made."""
    value = {label: int(number) for label, number in question.table["rows"]}
    text = question.question
    named = [word for word in re.findall(r"\w+", text) if word in tuple(LABELS)]
    if question.kind == "value":
        return str(value[named[0]])
    if question.kind in ("tallest", "shortest"):
        order = sorted(value, key=value.get)
        return ", ".join(order[::-1][:2] if question.kind == "tallest" else order[:2])
    if question.kind == "count":
        limit = int(re.search(r"\d+", text)[0])
        return str(sum(number > limit for number in value.values()))
    if question.kind == "sum":
        return str(sum(value[label] for label in named))
    if question.kind == "difference":
        return str(abs(value[named[0]] - value[named[1]]))
    return "yes" if value[named[0]] > value[named[1]] else "no"


def test_every_gold_answer_follows_from_the_gold_table():
    questions = synthetic_questions("train", 1000)
    assert {question.kind for question in questions} == set(KINDS)
    assert all(question.answers == (solve(question),) for question in questions)


def bars(image) -> list[tuple[float, int]]:
    """(middle, height in pixels) of every bar, from the left, measured in the picture by its color."""
    pixels, found = np.asarray(image), []
    for shade in COLORS.values():
        rows, columns = np.nonzero((pixels == shade).all(axis=2))
        if len(columns) > 20:
            found.append((columns.mean(), 98 - rows.min()))
    return sorted(found)


def test_a_ruler_laid_on_the_picture_reads_the_gold_table():
    for question in synthetic_questions("validation", 200)[::2]:
        measured = [round(height / 1.8) for _, height in bars(question.open_image())]
        assert [[label, str(value)] for label, value in zip(LABELS, measured, strict=False)] == question.table["rows"]


def test_every_bar_has_its_own_label_under_it():
    bare = draw(CHART)
    assert [label for label, _ in CHART.table["rows"]] == ["A", "B", "C", "D"]
    under = np.asarray(bare)[100:, :, 0] < 100
    for middle, _ in bars(bare):
        assert under[:, round(middle) - 4 : round(middle) + 5].any()


def test_bars_of_one_chart_differ_by_two_units_or_more():
    for question in synthetic_questions("test", 200):
        values = sorted(int(number) for _, number in question.table["rows"])
        assert all(high - low >= 2 for low, high in pairwise(values))
        assert values[0] >= 10 and values[-1] < AXIS_TOP


def test_no_chart_occurs_in_two_splits_whatever_the_seeds():
    charts = {
        split: {contents(q) for seed in (1, 2025) for q, _ in islice(worked_examples(split, seed), 1000)}
        for split in SPLITS
    }
    assert all(len(found) > 900 for found in charts.values())
    names = list(SPLITS)
    assert not any(charts[a] & charts[b] for i, a in enumerate(names) for b in names[i + 1 :])
    owned = [part for parts in SPLITS.values() for part in parts]
    assert sorted(owned) == list(range(100))


def test_the_same_seed_gives_the_same_questions_and_pixels_and_a_longer_list_begins_with_the_shorter():
    first, again, longer = (synthetic_questions("train", size, seed=7) for size in (30, 30, 50))
    fields = [(q.id, q.question, q.answers, q.image_id, q.open_image().tobytes()) for q in first]
    assert fields == [(q.id, q.question, q.answers, q.image_id, q.open_image().tobytes()) for q in again]
    assert [q.question for q in longer[:30]] == [q.question for q in first]
    assert [q.question for q in synthetic_questions("train", 30, seed=8)] != [q.question for q in first]


def test_the_stream_can_be_entered_anywhere():
    whole = [question.id for question, _ in islice(worked_examples("train", 3), 12)]
    for start in range(12):
        assert [q.id for q, _ in islice(worked_examples("train", 3, start), 12 - start)] == whole[start:]


def test_image_ids_name_pictures():
    questions = synthetic_questions("train", 400)
    pictures: dict[str, bytes] = {}
    for question in questions:
        drawn = question.open_image().tobytes()
        assert pictures.setdefault(question.image_id, drawn) == drawn
    assert len(pictures) == len(set(pictures.values())) == 200  # two questions a chart
    assert len({question.id for question in questions}) == 400
    assert len({(question.image_id, question.question) for question in questions}) == 400


def test_pictures_that_differ_in_layout_alone_have_different_ids_but_lie_in_the_same_split():
    variants = [
        BarChart(CHART.colors, CHART.values, gridlines, framed, share)
        for gridlines in (True, False)
        for framed in (True, False)
        for share in (0.6, 0.7, 0.8)
    ]
    assert len({variant.image_id for variant in variants}) == 12
    assert len({draw(variant).tobytes() for variant in variants}) == 12
    assert len({variant.part for variant in variants}) == 1


def test_guessing_the_commonest_answer_of_a_kind_does_not_help():
    answers: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    for question in synthetic_questions("train", 6000):
        answers[question.kind][question.answers[0]] += 1
    share = {kind: found.most_common(1)[0][1] / found.total() for kind, found in answers.items()}
    assert share["yes/no"] < 0.56 and share["count"] < 0.40
    assert share["value"] < 0.09 and share["difference"] < 0.14 and share["sum"] < 0.05
    assert share["tallest"] < 0.16 and share["shortest"] < 0.16
    assert len(answers["value"]) == len(VALUES)


def test_answers_are_plain_and_exact():
    for question in synthetic_questions("test", 300):
        (answer,) = question.answers
        assert (question.rule, question.tolerance, question.source) == ("strict", 0.0, "synthetic")
        pattern = {"number": r"\d+", "count": r"[1-5]", "list": r"[A-F], [A-F]", "yes/no": "yes|no"}
        assert re.fullmatch(pattern[question.answer_kind], answer)
        assert question.chart_type == "bar" and question.split == "test"


def test_a_worked_completion_holds_the_gold_table_and_answer_in_the_projects_format():
    for question, completion in islice(worked_examples("warm-start", 1), 200):
        table = re.search(r"<table>(.*)</table>", completion)[1]
        assert json.loads(table) == question.table
        pattern = r"<think>\n<type>bar</type>\n<table>.*</table>\n(Step \d: .+\n)+</think>\n<answer>(.*)</answer>"
        assert re.fullmatch(pattern, completion)[2] == question.answers[0]


def test_a_worked_sum_by_hand():
    class Fixed:
        """Draws the first labels of the list, three of them."""

        def randint(self, low, high):
            assert (low, high) == (4, 4), "a sum of four to six, of as many bars as there are"
            return 3

        def sample(self, population, count):
            return list(population[:count])

    question, answer, steps = ask("sum", CHART, Fixed())
    assert question == "What is the sum of A, B and C?"
    assert answer == "94" and steps == ['["A", "38"], ["B", "12"], ["C", "44"]', "38 + 12 + 44 = 94"]
    assert completion_of(CHART, answer, steps) == (
        '<think>\n<type>bar</type>\n<table>{"columns": ["bar", "value"], "rows": [["A", "38"], ["B", "12"], '
        '["C", "44"], ["D", "20"]]}</table>\nStep 1: ["A", "38"], ["B", "12"], ["C", "44"]\n'
        "Step 2: 38 + 12 + 44 = 94\n</think>\n<answer>94</answer>"
    )


@pytest.mark.parametrize(("split", "size", "said"), [("dev", 5, "no split 'dev'"), ("test", 0, "at least 1, not 0")])
def test_a_wrong_split_or_size_is_named(split, size, said):
    with pytest.raises(ValueError, match=said):
        synthetic_questions(split, size)
