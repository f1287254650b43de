"""Generators of near misses: each gives a question, an answer that is right, and one that is nearly so and wrong."""

from __future__ import annotations

from tests.near_misses_of_times import ask, season, short_date, time, year

UNITS = ["kg", "g", "km", "m", "cm", "hours", "minutes", "years", "MWh", "kWh", "liters", "tonnes", "mph"]
NAMES = ["France", "Germany", "Brazil", "Kenya", "Apples", "Pears", "Football", "Tennis", "Facebook", "Coal", "Solar"]


def count(rng):
    gold = rng.randint(1, 999)
    wrong = gold // 10 * 10 + rng.choice([d for d in range(10) if d != gold % 10])
    return ask(str(gold), "How many bars are there?", "count"), f"{gold} bars", f"{wrong} bars"


def sign(rng):
    gold = rng.choice([1, -1]) * round(rng.uniform(0.6, 900), rng.randint(0, 2))
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


def axis(rng):
    """A bare gold beside what the axis says; the digits must be the gold's."""
    gold, mark = round(rng.uniform(1.2, 990), 1), rng.choice(["%", " million", " billion", "k", " bn", " percent"])
    wrong = rng.choice([f"{gold * 10:.1f}", f"{gold / 10:.2f}", f"-{gold}", f"{gold * 1.06:.3f}", f"{gold} or {gold}"])
    asked = rng.choice(["What was the order backlog in 2012?", "What is the value of the blue bar?"])
    return ask(str(gold), asked), f"{gold}{mark}", f"{wrong}{mark}"


def named(rng):
    """A magnitude, percent or unit in the question decides."""
    gold, (meant, other) = rng.randint(2, 990), rng.sample(["thousand", "million", "billion", "trillion"], 2)
    asked = rng.choice([f"How many {meant} people use it?", f"What was the revenue in {meant}s?"])
    return ask(str(gold), asked), f"{gold} {meant}", rng.choice([f"{gold} {other}", f"{gold}%", f"{gold * 11} {meant}"])


def counted(rng):
    gold = rng.randint(1, 100)
    wrong = [f"{gold}%", f"{gold} million", f"${gold}", f"{gold + 1}", f"{gold - 1}", f"{gold}k", f"{gold} kg"]
    thing = rng.choice(["bars", "countries", "lines", "groups"])
    return ask(str(gold), f"How many {thing} are above 20%?"), f"{gold} {thing}", rng.choice(wrong)


def named_thing(rng):
    """Names that look like numbers: 5G, 42nd Street, the bus line 204."""
    number = rng.randint(2, 99)
    gold, asked = rng.choice(
        [
            (f"{number}G", "What generation of mobile technology gains share?"),
            (f"{number}D", "What kind of printing grew fastest?"),
            (f"{number}M", "What company is the largest?"),
            (f"{number}th Street", "What street has the highest rents?"),
            (f"{number}", "Which bus line has the highest number of passengers?"),
        ]
    )
    more = gold.replace(str(number), str(number + 1))
    wrong = [f"{number * 1.01:.2f}", f"{number + 1}", f"{number} grams", f"{number}%", f"{number} million", more]
    return ask(gold, asked), gold.lower(), rng.choice(wrong)


def one_by_one(rng):
    one, other = rng.sample(range(10, 1000, 7), 2)
    if abs(one - other) <= 0.1 * max(one, other):
        other = one * 2
    asked = [
        "What are the percentages of good and bad opinions?",
        "What are the average and the median?",
        "What are the values for A and B, respectively?",
        "What are the coordinates of the highest point?",
    ]
    right, wrong = (
        f"{one} and {other}",
        rng.choice([f"{other} and {one}", f"[{other}, {one}]", f"{one}", f"{one}, {one}"]),
    )
    return ask(f"[{one}, {other}]", rng.choice(asked)), right, wrong


def in_order(rng):
    items = rng.sample(NAMES, rng.randint(2, 5))
    mixed = list(items)
    while mixed == items:
        rng.shuffle(mixed)
    asked = rng.choice(["Name them in descending order of value.", "Rank them from the highest to the lowest."])
    return ask(f"[{', '.join(items)}]", asked, "list"), ", ".join(items), ", ".join(mixed)


def dollar(rng):
    gold, other = (
        rng.randint(2, 900),
        rng.choice(["C${}", "A${}", "HK${}", "S${}", "{} Canadian dollars", "{} AUD", "€{}"]),
    )
    asked = rng.choice([ask(f"${gold}"), ask(str(gold), "What is the price of a coffee in dollars?")])
    right = rng.choice(["US${}", "${}", "{} dollars", "{} USD", "{} U.S. dollars"])
    return asked, right.format(gold), other.format(gold)


def explained(rng):
    gold = rng.choice(["Yes", "No"])
    thing = rng.choice(["a box chart", "the tallest bar", "larger in 2010"])
    no = [f"No, it is not {thing}.", "No, it isn't.", f"No. That is not {thing}, it is a line.", "False, it is not"]
    yes = [f"Yes, it is {thing}.", "Yes, it is.", "True, it is.", "yes it is"]
    neither = [f"Yes, it is not {thing}.", "No, but yes", "Yes or no", "No, maybe", "Yes, it isn't", "No, it is."]
    right, opposite = (yes, no) if gold == "Yes" else (no, yes)
    return ask(gold, f"Is it {thing}?"), rng.choice(right), rng.choice(neither + opposite)


def footnote(rng):
    name, other = rng.sample(NAMES, 2)
    mark, second = rng.sample(["*", "**", "†", "‡", "¹", "²"], 2)
    wrong = rng.choice([other, other + mark, name + second, name[:-1]])
    return ask(name + mark, "Which is the largest?"), rng.choice([name, name + mark]), wrong


def ages(rng):
    low, high = rng.randint(10, 50), rng.randint(51, 98)
    wrong = [
        f"{low}-{high + 1} years",
        f"{low + 1}-{high}",
        f"{low}-{high} kg",
        f"{low}-{high}%",
        f"{low} years",
        f"{high}",
    ]
    right = rng.choice([f"{low}-{high} years", f"{low} to {high} years old"])
    return ask(f"{low}-{high}", "Which age group is the largest?"), right, str(rng.choice(wrong))


def open_range(rng):
    edge, more = rng.randint(10, 98), [">= {}", "{}+", "{} and older", "{} years or older", "at least {}", "{} or more"]
    over, under = ["over {}", "more than {}", "> {}", "older than {}"], ["under {}", "less than {}", "< {}"]
    up_to = ["{} and under", "{} or younger", "at most {}", "up to {}"]
    meant, *others = rng.sample([more, over, under, up_to], 4)
    wrong = rng.choice([rng.choice(rng.choice(others)).format(edge), rng.choice(meant).format(edge + 1), f"{edge}"])
    gold, right = rng.choice(meant).format(edge), rng.choice(meant).format(edge)
    return ask(gold, "Which age group is the largest?"), right, wrong


def hidden(rng):
    gold = rng.choice(NAMES)
    place = rng.randrange(len(gold) + 1)
    mark = rng.choice("\u200b\u200e\u200f\u202a\u202c\u2060\ufeff\u00ad")
    other = rng.choice([name for name in NAMES if name != gold])
    return ask(gold, "Which is the largest?"), gold[:place] + mark + gold[place:], mark + other


def power(rng):
    digits, exponent = round(rng.uniform(1.1, 9.9), 1), rng.randint(4, 9)
    raised = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    spellings = [
        "{} x 10^{}",
        "{}×10^{}",
        "{} \\times 10^{{{}}}",
        "{}e{}",
        "{} · 10^{}",
        "{}*10**{}",
        "{} × 10<sup>{}</sup>",
    ]
    spelling = rng.choice(spellings)
    right = rng.choice([spelling.format(digits, exponent), f"{digits} × 10{str(exponent).translate(raised)}"])
    wrong = rng.choice([exponent - 1, exponent + 1, -exponent])
    return ask(str(round(digits * 10**exponent))), right, spelling.format(digits, wrong)


MUTATIONS = [
    year, count, sign, unit, magnitude, list_item, letter, permuted, percent, several, interval, several_numbers,
    axis, named, counted, named_thing, season, time, one_by_one, in_order, dollar, explained, footnote, short_date,
    ages, open_range, hidden, power,
]  # fmt: skip
