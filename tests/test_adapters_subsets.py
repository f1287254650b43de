"""Subsets and held-out charts."""

from __future__ import annotations

from collections import Counter

import pytest

from charts.loading import drop_shared_charts, fingerprint, hold_out, load_questions
from charts.record import ChartQuestion, QuestionSet


def rows(charts: int = 200, questions_per_chart: int = 2, times: int = 1) -> QuestionSet:
    made = [
        ChartQuestion(
            f"{copy}-{chart}-{i}",
            f"Which {i}?",
            ("5",),
            image_id=f"{chart:04x}",
            source="large" if chart % 4 else "small",
        )
        for copy in range(times)
        for chart in range(charts)
        for i in range(questions_per_chart)
    ]
    return QuestionSet("made", "train", made)


def test_held_out_charts_never_occur_in_train():
    train, held_out = hold_out(rows(), 0.05)
    assert not {q.image_id for q in train.questions} & {q.image_id for q in held_out.questions}
    assert len(train) + len(held_out) == 400
    assert 20 <= len(held_out) <= 34


def test_a_subset_trains_on_exactly_its_size():
    train, held_out = hold_out(rows(), 0.05, subset_size=100)
    assert len(train) == 100
    assert len(held_out) >= 5
    assert not {q.image_id for q in train.questions} & {q.image_id for q in held_out.questions}


@pytest.mark.parametrize("order", ["stratified", "sequential"])
@pytest.mark.parametrize(("size", "times"), [(1, 1), (50, 1), (360, 1), (390, 1), (380, 3), (1000, 3)])
def test_a_subset_keeps_its_size_while_there_are_rows_beside_it(size, times, order):
    questions = rows(times=times)
    train, held_out = hold_out(questions, 0.05, subset_size=size, subset_order=order)
    assert len(held_out) >= min(10, size * 0.05)
    assert not {q.image_id for q in train.questions} & {q.image_id for q in held_out.questions}
    beside = 400 * times - size - times * len(held_out)
    if order == "stratified" and beside > 0:
        assert len(train) == size
    if order == "sequential" and size <= 300:
        assert train.questions == questions.questions[:size]


def test_repeated_rows_are_held_out_in_all_their_copies():
    train, held_out = hold_out(rows(times=3), 0.05)
    assert not {q.image_id for q in train.questions} & {q.image_id for q in held_out.questions}
    assert len(train) + 3 * len(held_out) == 1200


def test_holding_out_depends_on_the_seed_alone():
    one, again, other = (hold_out(rows(), seed=seed)[1].fingerprint for seed in (1, 1, 2))
    assert one == again != other


def test_too_little_data_to_hold_out_is_an_error():
    with pytest.raises(ValueError, match="too few"):
        hold_out(rows(charts=1), 0.05)
    with pytest.raises(ValueError, match="share"):
        hold_out(rows(), 1.0)


def test_a_subset_draws_distinct_rows_first_and_every_source_with_its_share():
    from charts.subsets import draw

    questions = rows(times=3).questions
    chosen = draw(questions, 100, "stratified", 2025)
    assert len({(q.image_id, q.question) for q in chosen}) == 100
    assert Counter(q.source for q in chosen) == {"large": 75, "small": 25}
    assert draw(questions, 100, "stratified", 2025) == chosen != draw(questions, 100, "stratified", 7)
    assert len(draw(questions, 500, "stratified", 2025)) == 500
    assert len({(q.image_id, q.question) for q in draw(questions, 500, "stratified", 2025)}) == 400
    assert draw(questions, 100, "sequential", 2025) == questions[:100]


def test_a_subset_larger_than_the_data_is_an_error():
    from charts.subsets import draw

    with pytest.raises(ValueError, match="--subset-size 401 is larger than the data: 400 rows"):
        draw(rows().questions, 401, "stratified", 2025)


def test_deduplication_keeps_the_first_of_equal_rows():
    found = load_questions("synthetic", subset_size=50, deduplicate=True)
    assert len(found) == 50


def test_shared_charts_are_dropped_and_counted():
    kept = drop_shared_charts(rows(), {"0000", "0001"})
    assert len(kept) == 396
    assert kept.notes == ["4 training rows dropped: their images are also in an evaluation split"]


def test_the_fingerprint_sees_content_and_order():
    questions = rows().questions
    assert fingerprint(questions) == fingerprint(list(questions))
    assert fingerprint(questions) != fingerprint(questions[::-1]) != fingerprint(questions[:-1])


def test_synthetic_splits_share_no_chart_and_grow_with_the_subset():
    train, test = load_questions("synthetic"), load_questions("synthetic", purpose="evaluate")
    assert not {q.image_id for q in train.questions} & {q.image_id for q in test.questions}
    assert len(load_questions("synthetic", subset_size=2_500)) == 2_500
