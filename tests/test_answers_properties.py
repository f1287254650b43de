"""Properties of the matcher on text it has never seen, and a hundred thousand near misses that it must not take."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charts.answers import RULES, grade
from charts.record import ChartQuestion

UNITS = ["kg", "g", "km", "m", "cm", "hours", "minutes", "years", "MWh", "kWh", "liters", "tonnes", "mph"]
NAMES = ["France", "Germany", "Brazil", "Kenya", "Apples", "Pears", "Football", "Tennis", "Facebook", "Coal", "Solar"]
KINDS = st.sampled_from(["", "number", "year", "count", "list", "yes/no", "text"])
texts = st.text(max_size=40) | st.from_regex(
    r"[-+$€(]?\d{1,4}[.,:/-]?\d{0,4} ?(%|million|kg|or \d|and \d)?", fullmatch=True
)


def ask(gold, text="What is the value?", kind="", tolerance=None):
    return ChartQuestion("q", text, (gold,), answer_kind=kind, tolerance=tolerance)


@settings(max_examples=300, deadline=None)
@given(answer=texts, gold=texts, asked=texts, kind=KINDS, rule=st.sampled_from([*RULES, "chartqapro:Y-"]))
def test_the_matcher_never_raises(answer, gold, asked, kind, rule):
    verdict = grade(answer, ask(gold, asked, kind), rule)
    assert verdict.correct in (True, False)
    assert verdict.reason


@settings(max_examples=300, deadline=None)
@given(gold=texts.filter(str.strip), asked=texts, kind=KINDS, tolerance=st.sampled_from([None, 0.0, 0.01]))
def test_the_gold_itself_is_right(gold, asked, kind, tolerance):
    assert grade(gold, ask(gold, asked, kind, tolerance), "strict").correct is True


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


def year(rng):
    gold = rng.randint(1900, 2030)
    wrong = gold // 10 * 10 + rng.choice([d for d in range(10) if d != gold % 10])
    return ask(str(gold), "In which year was the value the highest?"), str(gold), str(wrong)


def count(rng):
    gold = rng.randint(1, 999)
    wrong = gold // 10 * 10 + rng.choice([d for d in range(10) if d != gold % 10])
    return ask(str(gold), "How many bars are there?", "count"), f"{gold} bars", f"{wrong} bars"


def sign(rng):
    gold = rng.choice([1, -1]) * round(rng.uniform(0.1, 900), rng.randint(0, 2))
    return ask(str(gold)), str(gold), str(-gold)


def unit(rng):
    value, (meant, other) = rng.randint(1, 9999), rng.sample(UNITS, 2)
    return ask(f"{value} {meant}"), f"{value}{' ' * rng.randint(0, 1)}{meant}", f"{value} {other}"


def magnitude(rng):
    value, (meant, other) = (
        round(rng.uniform(1.2, 900), 1),
        rng.sample(["thousand", "million", "billion", "trillion"], 2),
    )
    return (
        ask(f"{value} {meant}"),
        f"{value} {meant}",
        rng.choice([f"{value} {other}", f"{value * 10:g} {meant}", str(value)]),
    )


def list_item(rng):
    items = rng.sample(NAMES, rng.randint(2, 5))
    wrong = list(items)
    wrong[rng.randrange(len(wrong))] = rng.choice([name for name in NAMES if name not in items])
    mixed = rng.sample(items, len(items))
    return ask(f"[{', '.join(items)}]", "Which are above average?", "list"), ", ".join(mixed), ", ".join(wrong)


def letter(rng):
    gold = " ".join(rng.sample(NAMES, rng.randint(1, 2)))
    place = rng.choice([i for i, character in enumerate(gold) if character.isalpha()])
    other = rng.choice([c for c in "abcdefghijklmnopqrstuvwxyz" if c != gold[place].lower()])
    return ask(gold, "Which is the largest?"), gold.lower(), gold[:place] + other + gold[place + 1 :]


def permuted(rng):
    gold = rng.choice(NAMES).lower()
    letters = list(gold)
    while "".join(letters) == gold:
        rng.shuffle(letters)
    return ask(gold, "Which is the largest?"), gold, "".join(letters)


def percent(rng):
    gold = rng.randint(1, 500)
    return (
        ask(str(gold), "What is the height of the bar in meters?"),
        f"{gold} m",
        rng.choice([f"{gold}%", f"{gold * 100}%"]),
    )


def several(rng):
    one, other = rng.sample(NAMES, 2)
    wrong = rng.choice(
        [f"{one} or {other}", f"{other} or {one}", f"{one}, {other}", f"{one}/{other}", f"{one} and {other}"]
    )
    return ask(one, "Which is the largest?"), one, wrong


def interval(rng):
    low = rng.randint(10, 2000)
    high = low + rng.randint(1, 90)
    wrong = [f"{low}-{high + 1}", f"{low - 1} to {high}", f"{low}", f"{high}", f"{low + high}", f"-{high - low}"]
    return ask(f"{low}-{high}", "Which group is the largest?"), f"{low} to {high}", rng.choice(wrong)


def several_numbers(rng):
    gold = rng.randint(1, 999)
    wrong = rng.choice(
        [
            f"{gold} or {gold + 1}",
            f"{gold}, {gold + 1}",
            f"{gold}-{gold + 1}",
            f"{gold} and {gold}",
            f"{gold} to {gold}",
        ]
    )
    return ask(str(gold)), str(gold), wrong


MUTATIONS = [
    year,
    count,
    sign,
    unit,
    magnitude,
    list_item,
    letter,
    permuted,
    percent,
    several,
    interval,
    several_numbers,
]


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
