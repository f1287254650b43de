"""Properties of the matcher on text it has never seen, and a hundred thousand near misses that it must not take."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charts.answers import RULES, grade
from charts.boxes import read_box
from tests.near_misses import MUTATIONS, ask

KINDS = st.sampled_from(["", "number", "year", "count", "list", "yes/no", "text"])
texts = st.text(max_size=40) | st.from_regex(
    r"[-+$€(]?\d{1,4}[.,:/-]?\d{0,4} ?(%|million|kg|or \d|and \d)?", fullmatch=True
)


PIECES = [
    "\\ ", "\\", "\\frac", "\\boxed{", "\\text{", "{", "}", "$", "**", "*", "^", "_", "<sup>", "</sup>", "<sub>", "2",
    "3", "10", "e", "x", "×", " ", "%", "-", "–", "/", ":", "(", ")", "[", "]", ",", ".", "'", "\"", "and", "or", "to",
    "over", "65", "+", "or older", "May", "'21", "Q4", "H1", "FY", "18", "2018", "yes", "no", "not", "million", "bn",
    "C$", "kg", "years", "old", "¹", "²", "₂", "½", "۲", "年", "哪一年", "how many", "which", "what", "is", "the",
    "range", "of", "?", "\n", "\0", "nan", "inf", "1e999", "ﬁ", "\u0301", "\ud800", "\u200b", "\u202e",
    "9" * 50,
]  # fmt: skip
pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@settings(max_examples=300, deadline=None)
@given(answer=texts, gold=texts, asked=texts, kind=KINDS, rule=st.sampled_from([*RULES, "chartqapro:Y-"]))
def test_the_matcher_never_raises(answer, gold, asked, kind, rule):
    verdict = grade(answer, ask(gold, asked, kind), rule)
    no_box = rule == "iou" and read_box(gold) is None and verdict.reason not in ("no answer", "answer too long")
    allowed = (True, False, None) if rule == "math" else (None,) if no_box else (True, False)  # math-verify's own
    assert verdict.correct in allowed
    assert verdict.reason


@settings(max_examples=300, deadline=None)
@given(gold=texts.filter(str.strip), asked=texts, kind=KINDS, tolerance=st.sampled_from([None, 0.0, 0.01]))
def test_the_gold_itself_is_right(gold, asked, kind, tolerance):
    assert grade(gold, ask(gold, asked, kind, tolerance), "strict").correct is True


@settings(max_examples=500, deadline=None)
@given(
    answer=pieces,
    gold=pieces,
    asked=pieces,
    kind=KINDS,
    tolerance=st.sampled_from([None, nan, inf, -1.0]),
)
def test_pieces_that_mean_something_never_raise_and_the_gold_itself_is_right(answer, gold, asked, kind, tolerance):
    assert grade(answer, ask(gold, asked, kind, tolerance), "strict").correct in (True, False)
    assert grade(gold, ask(gold, asked, kind, tolerance), "strict").correct is bool(gold.strip())


@pytest.mark.parametrize("kind", ["", "list"])
def test_brackets_in_any_order_are_read_and_the_gold_itself_is_right(kind):
    draw = random.Random(2025)
    for _ in range(3000):
        gold = "".join(draw.choices("[],;|a1'\" ", k=draw.randint(1, 8)))
        if gold.strip():
            assert grade(gold, ask(gold, kind=kind), "strict").correct is True, repr(gold)


@settings(max_examples=200, deadline=None)
@given(
    items=st.lists(st.from_regex(r"[a-z]{2,8}|\d{1,5}", fullmatch=True), min_size=2, max_size=6),
    seed=st.integers(0, 99),
)
def test_the_order_of_an_unordered_list_does_not_matter(items, seed):
    mixed = random.Random(seed).sample(items, len(items))
    asked = ask(f"[{', '.join(items)}]", "Which of them are shown?", "list")
    assert grade(", ".join(mixed), asked, "strict").correct is True
    assert grade(" and ".join(mixed), asked, "strict").correct is True


def public_rule(answer: str, gold: str) -> bool:
    """The public relaxed rule, written a second time and differently."""

    def number(text):
        percent = text[-1:] == "%"
        try:
            value = float(text.rstrip("%") if percent else text)
        except ValueError:
            return None
        return value / 100.0 if percent else value

    a, g = number(answer), number(gold)
    if a is None or g is None or g == 0:
        return answer.lower() == gold.lower()
    return abs(a - g) / abs(g) <= 0.05


def test_relaxed_agrees_with_the_public_rule_on_100_000_pairs():
    rng = random.Random(5)
    pieces = [
        "nan",
        "inf",
        "-inf",
        "1e3",
        "1_000",
        "0",
        "0.0",
        "-0",
        "Yes",
        "yes",
        "",
        "%",
        "١٢",
        "1e400",
        "٣%",
        "+5",
        " 7 ",
    ]
    differing = 0
    for _ in range(100_000):
        value = rng.choice([rng.uniform(-200, 200), rng.randint(-50, 50), rng.randint(1900, 2030)])
        near = value * rng.choice([1, 1.05, 0.95, 1.0500001, rng.uniform(0.9, 1.1)])
        answer, gold = (
            rng.choice([f"{near}", f"{near:.2f}", f"{near * 100}%", rng.choice(pieces)]),
            rng.choice([f"{value}", f"{value}%", rng.choice(pieces)]),
        )
        if not answer.strip():
            continue
        differing += grade(answer, ask(gold), "relaxed").correct is not public_rule(answer, gold)
    assert differing == 0


@settings(max_examples=200, deadline=None)
@given(answer=texts.filter(str.strip), gold=texts)
def test_relaxed_agrees_with_the_public_rule_on_any_text(answer, gold):
    assert grade(answer, ask(gold), "relaxed").correct is public_rule(answer, gold)


@pytest.mark.slow
def test_100_000_near_misses_are_all_wrong_and_their_originals_right():
    rng = random.Random(2025)
    taken, refused = [], []
    for number in range(100_000):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        question, right, wrong = mutate(rng)
        if grade(wrong, question, "strict").correct is not False:
            taken.append((mutate.__name__, question.answers, wrong))
        if number < 10_000 and grade(right, question, "strict").correct is not True:
            refused.append((mutate.__name__, question.answers, right))
    assert taken == []
    assert refused == []
