"""Charts with a cut axis: what is drawn is what is asked, marks are drawn where the axis starts above zero."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from charts.loading import load_questions
from charts.procedures import (
    CHART_TYPES,
    COLORS,
    KINDS,
    LABELS,
    MARKED,
    SPLITS,
    STROKE,
    TINTS,
    AxisChart,
    asked,
    draw,
    procedure_questions,
    start_of,
)

CHART = AxisChart("bar", "red", (3, 9, 1, 5), start=0, gridlines=True, thickness=10)


def charts(split: str, count: int, **options):
    return [item.chart for item in islice(asked(split, 3, **options), 0, 2 * count, 2)]


def shaded(image, shade) -> np.ndarray:
    return (np.asarray(image) == shade).all(axis=2)


def runs(lit: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]])))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]


def ruler(chart: AxisChart) -> list[float]:
    """The heights in units, measured in the picture by the color of the bars or marks."""
    found = shaded(draw(chart), COLORS[chart.color])
    if chart.chart_type == "horizontal bar":
        ends = [np.flatnonzero(found[first : last + 1].any(axis=0)).max() for first, last in runs(found.any(axis=1))]
        return [(end + 1 - 28) / 7 for end in ends]
    stretches = [found[:, first : last + 1].any(axis=1) for first, last in runs(found.any(axis=0))]
    if chart.chart_type == "bar":
        return [stretch.sum() / 7 for stretch in stretches]
    return [(98 - np.flatnonzero(stretch).mean() - 0.5) / 7 for stretch in stretches]


def test_every_gold_answer_follows_from_the_gold_table():
    questions = procedure_questions("train", 1000)
    for question in questions:
        value = {label: int(number) for label, number in question.table["rows"]}
        named = re.findall(r"\b[A-E]\b", question.question)
        assert question.answers == (str(sum(value[label] for label in named)),)
        assert question.kind.split()[0] == {1: "value", 2: "sum"}[len(named)]
        assert question.kind.split()[1] == ("marked" if min(value.values()) > 10 else "plain")
    assert {question.kind.split()[0] for question in questions} == set(KINDS)
    assert {question.chart_type for question in questions} == set(CHART_TYPES)


def test_a_ruler_laid_on_the_picture_reads_the_gold_table():
    for chart in charts("validation", 300, marked=0.5):
        measured = ruler(chart)
        assert measured == list(chart.heights)
        rows = [[label, str(int(height) + chart.start)] for label, height in zip(LABELS, measured, strict=False)]
        assert rows == chart.table["rows"]


def test_a_marked_chart_is_on_tinted_paper_and_has_a_stroke_for_every_ten_left_out():
    for chart in charts("train", 200, marked=0.6):
        image = draw(chart)
        strokes = shaded(image, STROKE)
        across = strokes.any(axis=0 if chart.chart_type == "horizontal bar" else 1)
        assert len(runs(across)) == chart.start // 10
        for start, tint in TINTS.items():
            if start:
                assert (shaded(image, tint).sum() > 500) == (start == chart.start)


def test_every_bar_has_its_own_label():
    for chart in charts("test", 60):
        dark = np.asarray(draw(chart).convert("L")) < 120
        for place in range(len(chart.heights)):
            room = (slice(100, 109), slice(17 + 18 * place, 35 + 18 * place))
            if chart.chart_type == "horizontal bar":
                room = (slice(8 + 18 * place, 26 + 18 * place), slice(16, 26))
            assert dark[room].any()


def test_about_one_chart_in_six_is_marked_whatever_the_split():
    for split in SPLITS:
        found = charts(split, 2000)
        assert abs(sum(chart.marked for chart in found) / len(found) - MARKED) < 0.03
    assert 0.15 <= MARKED <= 0.20
    assert not any(chart.marked for chart in charts("train", 200, marked=0.0))
    assert {chart.start for chart in charts("train", 200, marked=1.0)} == {10, 20}


def test_no_chart_occurs_in_two_splits_whatever_the_seeds():
    def contents(split):
        return {
            (item.chart.heights, item.chart.start) for seed in (1, 2025) for item in islice(asked(split, seed), 2000)
        }

    found = {split: contents(split) for split in SPLITS}
    assert all(len(charts) > 500 for charts in found.values())
    names = list(SPLITS)
    assert not any(found[a] & found[b] for i, a in enumerate(names) for b in names[i + 1 :])
    assert sorted(part for parts in SPLITS.values() for part in parts) == list(range(100))


def test_the_same_seed_gives_the_same_questions_and_pixels_and_a_longer_list_begins_with_the_shorter():
    first, again, longer = (procedure_questions("train", size, seed=7) for size in (30, 30, 50))
    fields = [(q.id, q.question, q.answers, q.image_id, q.open_image().tobytes()) for q in first]
    assert fields == [(q.id, q.question, q.answers, q.image_id, q.open_image().tobytes()) for q in again]
    assert [q.question for q in longer[:30]] == [q.question for q in first]
    assert [q.image_id for q in procedure_questions("train", 30, seed=8)] != [q.image_id for q in first]


def test_the_stream_can_be_entered_anywhere():
    whole = [item.record.id for item in islice(asked("train", 3), 12)]
    for start in range(12):
        assert [item.record.id for item in islice(asked("train", 3, start), 12 - start)] == whole[start:]


def test_image_ids_name_pictures_and_no_question_is_asked_twice_of_one():
    questions = procedure_questions("train", 1000)
    pictures: dict[str, bytes] = {}
    for question in questions:
        drawn = question.open_image().tobytes()
        assert pictures.setdefault(question.image_id, drawn) == drawn
    assert len(pictures) == len(set(pictures.values()))
    asked_of = Counter(
        (question.image_id, frozenset(re.findall(r"\b[A-E]\b", question.question))) for question in questions[:400]
    )
    assert max(asked_of.values()) == 1


def test_pictures_that_differ_in_layout_alone_have_different_ids_but_lie_in_the_same_split():
    variants = [
        AxisChart(kind, color, CHART.heights, CHART.start, gridlines, thickness)
        for kind in ("bar", "horizontal bar")
        for color in COLORS
        for gridlines in (True, False)
        for thickness in (10, 14)
    ]
    assert len({variant.image_id for variant in variants}) == len({draw(v).tobytes() for v in variants}) == 40
    assert len({variant.part for variant in variants}) == 1


def test_the_start_of_the_axis_follows_from_the_gold_table():
    for item in islice(asked("test", 1, marked=0.5), 300):
        assert start_of(item.record) == item.chart.start


def test_main_and_generate_samples_find_the_charts_by_name():
    train, test = load_questions("procedures", subset_size=50), load_questions("procedures", purpose="evaluate")
    assert (len(train), len(test), train.split, test.split) == (50, 500, "train", "test")
    with pytest.raises(ValueError, match="procedures has no split 'gold'"):
        load_questions("procedures", purpose="evaluate", split="gold")
    with pytest.raises(ValueError, match="procedures charts are drawn, not read"):
        load_questions("procedures", path="x")


@pytest.mark.parametrize(("split", "size", "said"), [("dev", 5, "no split 'dev'"), ("test", 0, "at least 1, not 0")])
def test_a_wrong_split_or_size_is_named(split, size, said):
    with pytest.raises(ValueError, match=said):
        procedure_questions(split, size)
