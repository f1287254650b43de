"""Subsets: distinct rows first, every source with its share, held-out charts that training never sees."""

import hashlib
import json
import random
from collections import defaultdict
from dataclasses import replace

from charts.record import ChartQuestion, QuestionSet

MIN_HELD_OUT = 32


def hold_out(
    question_set: QuestionSet,
    share: float = 0.05,
    *,
    subset_size: int | None = None,
    subset_order: str = "stratified",
    seed: int = 2025,
) -> tuple[QuestionSet, QuestionSet]:
    """(train, held out): charts of the held-out questions never occur in train.

    Held out are `share` of the training rows, and at least 32 where there are rows to spare, so that a subset keeps its
    size as long as there are rows outside it.
    """
    if not 0 < share < 1:
        raise ValueError(f"the held-out share is {share}: give a number between 0 and 1")
    check_subset(subset_size, subset_order)
    try:
        train, taken = _train_and_held_out(question_set.questions, share, subset_size, subset_order, seed)
    except ValueError as error:  # the notes say what became of the other rows
        raise ValueError("; ".join([str(error), *question_set.notes])) from None
    kept = replace(question_set, questions=train, fingerprint=fingerprint(train))
    held_out = f"{question_set.split} (held out)"
    return kept, replace(question_set, questions=taken, split=held_out, fingerprint=fingerprint(taken))


def _train_and_held_out(
    everything: list[ChartQuestion], share: float, subset_size: int | None, subset_order: str, seed: int
) -> tuple[list[ChartQuestion], list[ChartQuestion]]:
    if subset_size is None:
        train, taken = everything, _hold_beside([], everything, max(1, round(share * len(everything))), seed)
    else:
        wanted = max(1, round(share * subset_size))
        train, taken = _subset_and_held_out(everything, wanted, subset_size, subset_order, seed)
    held_charts = {_chart(question) for question in taken}
    train = [question for question in train if _chart(question) not in held_charts]
    if not train or not taken:
        raise ValueError(f"{len(everything)} questions are too few to hold out charts: use more rows")
    return train, taken


def _subset_and_held_out(everything: list, wanted: int, size: int, order: str, seed: int) -> tuple[list, list]:
    """A stratified subset is drawn beside the held-out charts, as long as enough rows are left; literal first rows stay
    what they are, and the charts come from behind them."""
    if order == "stratified":
        spare = len(distinct(everything)) - size
        taken = _hold_beside([], everything, max(wanted, min(MIN_HELD_OUT, spare)), seed)
        charts = {_chart(question) for question in taken}
        left = [question for question in everything if _chart(question) not in charts]
        if len(left) >= size:
            return draw(left, size, order, seed), taken
    train = draw(everything, size, order, seed)
    return train, _hold_beside(train, everything, wanted, seed)


def _hold_beside(train: list, everything: list, wanted: int, seed: int) -> list[ChartQuestion]:
    """Distinct questions of whole charts, from outside `train` first: there at least 32, if there are as many."""
    charts_in_train = {_chart(question) for question in train}
    outside: dict[str, list] = defaultdict(list)
    within: dict[str, list] = defaultdict(list)
    for question in distinct(everything):
        (within if _chart(question) in charts_in_train else outside)[_chart(question)].append(question)
    taken = _take_charts(outside, max(wanted, MIN_HELD_OUT) if train else wanted, seed, leave=0 if train else 1)
    if len(taken) < wanted:
        taken += _take_charts(within, wanted - len(taken), seed, leave=1)
    return taken


def fingerprint(questions: list[ChartQuestion]) -> str:
    """sha256 over id, question, answers, image_id and options of every question, in order."""
    digest = hashlib.sha256()
    for question in questions:
        row = [question.id, question.question, question.answers, question.image_id, *question.choices]
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def distinct(questions: list[ChartQuestion]) -> list[ChartQuestion]:
    """The first question of each image, question and answer."""
    seen: dict[tuple, ChartQuestion] = {}
    for question in questions:
        seen.setdefault((_chart(question), question.question, question.answers), question)
    return list(seen.values())


def _chart(question: ChartQuestion) -> str:
    """What questions have in common that must not be parted: their chart, or, of text alone, the question itself."""
    return question.image_id or question.question


def check_subset(size: int | None, order: str) -> None:
    if size is not None and size < 1:
        raise ValueError(f"--subset-size {size}: give at least 1")
    if order not in ("stratified", "sequential"):
        raise ValueError(f"--subset-order {order!r}: choose stratified or sequential")


def draw(questions: list[ChartQuestion], size: int, order: str, seed: int) -> list[ChartQuestion]:
    if size > len(questions):
        raise ValueError(f"--subset-size {size:,} is larger than the data: {len(questions):,} rows")
    if order == "sequential":
        return questions[:size]
    unique = distinct(questions)
    chosen = {id(question) for question in (unique if size >= len(unique) else _stratified(unique, size, seed))}
    if size > len(unique):
        repeats = [question for question in questions if id(question) not in chosen]
        chosen |= {id(question) for question in _stratified(repeats, size - len(unique), seed)}
    return [question for question in questions if id(question) in chosen]


def _stratified(questions: list[ChartQuestion], size: int, seed: int) -> list[ChartQuestion]:
    """`size` questions, each source with its share (largest remainders), drawn by the seed."""
    strata = defaultdict(list)
    for question in questions:
        strata[question.source].append(question)
    quotas = {source: size * len(rows) / len(questions) for source, rows in strata.items()}
    counts = {source: int(quota) for source, quota in quotas.items()}
    for source in sorted(quotas, key=lambda s: counts[s] - quotas[s])[: size - sum(counts.values())]:
        counts[source] += 1
    drawn = []
    for source, rows in strata.items():
        drawn += random.Random(f"{seed}/{source}").sample(rows, len(rows))[: counts[source]]
    return drawn


def _take_charts(charts: dict[str, list], wanted: int, seed: int, leave: int = 0) -> list[ChartQuestion]:
    """Questions of whole charts, in seeded order, until there are `wanted`; at least `leave` charts stay."""
    names = list(charts)
    random.Random(f"{seed}/held out").shuffle(names)
    taken: list[ChartQuestion] = []
    for name in names[: len(names) - leave] if leave else names:
        if len(taken) >= wanted:
            break
        taken += charts[name]
    return taken
