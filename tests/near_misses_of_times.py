"""Near misses of years, seasons and months, and the question that every near miss is about."""

from __future__ import annotations

from charts.record import ChartQuestion


def ask(gold, text="What is the value?", kind="", tolerance=None):
    return ChartQuestion("q", text, (gold,), answer_kind=kind, tolerance=tolerance)


def year(rng):
    gold = rng.randint(1900, 2030)
    wrong = gold // 10 * 10 + rng.choice([d for d in range(10) if d != gold % 10])
    return ask(str(gold), "In which year was the value the highest?"), str(gold), str(wrong)


def season(rng):
    first = rng.randint(1951, 2047)
    short, after = f"{first % 100:02}/{(first + 1) % 100:02}", f"{(first + 1) % 100:02}/{(first + 2) % 100:02}"
    a, b = first % 100, (first + 1) % 100
    wrong = [
        after,
        f"{first}",
        f"{b:02}/{a:02}",
        f"{2 * a}/{2 * b}",
        f"{first - 100}/{short[3:]}",
        f"{first}-{first + 2}",
    ]
    gold = rng.choice([short, f"{first}/{short[3:]}"])
    right = rng.choice([short, f"{first}/{short[3:]}", f"{first}/{first + 1}", f"{first}-{first + 1}"])
    return ask(gold, "Which year has the smallest value?"), right, rng.choice(wrong)


def time(rng):
    gold = rng.randint(1900, 2030)
    asked = [
        "During which time did the largest increase happen?",
        "In which period did sales peak?",
        "At what point in time did sales peak?",
        "哪一年销量最高？",
        "¿En qué año fue mayor el valor?",
        "किस वर्ष में बिक्री सबसे अधिक थी?",
        "En quelle année la valeur était-elle la plus élevée ?",
        "في أي عام كانت القيمة أعلى؟",
        "В каком году значение было наибольшим?",
        "Em que ano o valor foi maior?",
    ]
    wrong = [gold + rng.choice([-2, -1, 1, 2]), f"{gold}.5", f"{gold}%", f"{gold} million", f"'{(gold + 1) % 100:02}"]
    return ask(str(gold), rng.choice(asked)), rng.choice([str(gold), f"{gold}*"]), str(rng.choice(wrong))


def short_date(rng):
    year, months = (
        rng.randint(1951, 2048),
        ["Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    )
    short, near = f"{year % 100:02}", f"{(year + 1) % 100:02}"
    month, other = rng.sample(months, 2)
    quarter = rng.randint(1, 4)
    if rng.random() < 0.5:
        wrong = [
            f"{other} {year}",
            f"{month} '{near}",
            f"{month} {year + 1}",
            f"{month} {year - 100}",
            month,
            str(year),
        ]
        right = rng.choice([f"{month} {year}", f"{month}-{short}", f"{month}. '{short}"])
        return ask(f"{month} '{short}", "In which month was the peak?"), right, rng.choice(wrong)
    wrong = [f"Q{quarter % 4 + 1} {year}", f"Q{quarter} {year + 1}", f"{quarter}Q{near}", f"Q{quarter}", f"{year}"]
    right = rng.choice([f"Q{quarter} {year}", f"{quarter}Q{short}", f"{year} Q{quarter}"])
    return ask(f"Q{quarter} '{short}", "In which quarter was the peak?"), right, rng.choice(wrong)
