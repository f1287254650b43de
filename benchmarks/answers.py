"""How fast answers are graded: distinct ones, and 256 samples of each problem, on one core.

python benchmarks/answers.py
"""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from charts import answers
from charts.record import ChartQuestion


def questions(count: int, rng: random.Random) -> list[ChartQuestion]:
    """A mixture of kinds: numbers, percent, magnitudes, years, lists, yes/no and text."""
    words = ["France", "South Korea", "Light green", "Apples", "Coal", "Women's labour force", "Q1 2010", "18-24"]
    makers = [
        lambda i: (f"{rng.uniform(1, 900):.1f}", "What is the value of the last bar?", ""),
        lambda i: (f"{rng.randint(1, 99)}%", "What percentage chose tea?", ""),
        lambda i: (f"{rng.randint(2, 900)} million", "What was the number of users?", ""),
        lambda i: (str(rng.randint(1950, 2024)), "In which year did sales peak?", ""),
        lambda i: (f"[{', '.join(rng.sample(words, 3))}]", "Which three are the largest?", "list"),
        lambda i: (rng.choice(["Yes", "No"]), "Is the blue bar taller?", "yes/no"),
        lambda i: (rng.choice(words), "Which is the largest?", ""),
    ]
    made = []
    for i in range(count):
        gold, text, kind = makers[i % len(makers)](i)
        made.append(ChartQuestion(f"q{i}", f"{text[:-1]} in chart {i}?", (gold,), answer_kind=kind))
    return made


def seconds_to_grade(pairs: list[tuple[str, ChartQuestion]]) -> float:
    answers._grade.cache_clear()
    start = time.process_time()
    for answer, problem in pairs:
        answers.grade(answer, problem, "strict")
    return time.process_time() - start


def distinct_answers(count: int, rng: random.Random) -> float:
    problems = questions(count // 20, rng)
    spellings = ["{}", "{} million", "${}", "{}%", "about {}", "{} kg", "{} and {}", "{}-{}", "the {} bars", "{} or so"]
    spelled = [(spelling, problem) for problem in problems for spelling in spellings * 2]
    return seconds_to_grade([(spelling.replace("{}", str(rng.randint(0, 10**9))), one) for spelling, one in spelled])


def repeated_answers(count: int, rng: random.Random) -> float:
    problems = questions(count // 256, rng)
    pairs = []
    for problem in problems:
        given = [problem.answers[0], *(str(rng.randint(0, 10**6)) for _ in range(7))]
        pairs += [(answer, problem) for answer in rng.choices(given, k=256)]
    return seconds_to_grade(pairs)


def main() -> None:
    rng = random.Random(2025)
    print(f"100,000 distinct answers: {distinct_answers(100_000, rng):.2f} s of one core")
    print(f"1,000,000 verdicts, 256 samples of each problem: {repeated_answers(1_000_000, rng):.2f} s of one core")


if __name__ == "__main__":
    main()
