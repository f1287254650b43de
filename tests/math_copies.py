"""A few rows in the exact schema of each mathematical set; the problems are this project's own."""

from __future__ import annotations

from pathlib import Path

import datasets


def math_row(n: int, **changes) -> dict:
    problem = f"What is $\\frac{{{n}}}{{2}}$ as a fraction in lowest terms?" if n % 2 else f"Compute ${n} + {n}$."
    gold = f"\\frac{{{n}}}{{2}}" if n % 2 else str(2 * n)
    row = {"problem": problem, "level": f"Level {n % 5 + 1}", "type": "Algebra" if n % 2 else "Prealgebra",
           "solution": f"We see that \\boxed{{0}} is too small. So the answer is $\\boxed{{{gold}}}$."}  # fmt: skip
    return {**row, **changes}


def save_math(folder: Path, train: int = 48, test: int = 4) -> Path:
    """MATH as `save_to_disk` leaves it."""
    parts = {"train": [math_row(n) for n in range(train)], "test": [math_row(1000 + n) for n in range(test)]}
    splits = {name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


GSM8K = [
    {"question": "Ann has 3 bags of 400 beads. How many beads has she?",
     "answer": "Ann has 3*400=<<3*400=1200>>1200 beads.\n#### 1,200"},
    {"question": "A shop earns $50 and spends $58. What is left?", "answer": "50-58=<<50-58=-8>>-8\n#### -8"},
]  # fmt: skip
AMC = [  # the copy of AI-MO has floats and one split, train
    {"id": 0, "problem": "What is the least prime above 140?", "answer": 149.0, "url": "https://example.org/1"},
    {"id": 1, "problem": "How many diagonals has a hexagon?", "answer": 9.0, "url": "https://example.org/2"},
]
AMC_OF_THE_PAPER = [  # what its code reads: problem and answer, which it takes as they are
    {"problem": "What is the largest factor of $46$ below $46$?", "answer": "23"},
    {"problem": "How long is the diagonal of a square with sides of $3$?", "answer": "3\\sqrt{2}"},
]
AIME = [{"problem": "Find the remainder when $2^{10}$ is divided by $999$.", "answer": "025"}]
