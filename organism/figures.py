"""What a measurement of the model organism comes to: Pass@k, shares of procedures, guessing floors, targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluation.estimators import pass_at_k
from organism.answering import FLAWED, OTHER, PROCEDURES

KS = (1, 4, 16, 64, 256)
DRAWN = 4000  # questions looked through for marked ones and for the commonest answers


@dataclass
class Row:
    """One question's completions, summed up."""

    id: str
    kind: str  # "sum marked"
    chart_type: str
    gold: str
    samples: int
    right: dict[str, int]  # procedure -> right completions
    taken: dict[str, int]  # procedure -> completions
    majority: str | None  # the commonest answer
    well_formed: int
    tokens: int
    nll: float  # nats, of all completions: the mean over completions estimates the entropy
    openings: dict[str, float] = field(default_factory=dict)  # procedure -> probability of its first words, as scored

    @property
    def marked(self) -> bool:
        return self.kind.endswith("marked")


def pass_at(k: int, rows: Sequence[Row], procedures: Sequence[str] | None = None) -> float:
    """Unbiased Pass@k in percent; with `procedures`, as if only their completions could be right."""
    right = [sum(n for way, n in row.right.items() if procedures is None or way in procedures) for row in rows]
    drawn = np.array([row.samples for row in rows])
    return 100 * float(pass_at_k(drawn, np.array(right), [k]).mean()) if rows else float("nan")


def share(rows: Sequence[Row], procedure: str) -> float:
    """Of all completions, in percent."""
    return 100 * sum(row.taken.get(procedure, 0) for row in rows) / max(1, sum(row.samples for row in rows))


def scored(rows: Sequence[Row], procedure: str) -> float:
    """Mean probability of a procedure's first words, in percent: its share without the noise of sampling."""
    found = [row.openings[procedure] for row in rows if procedure in row.openings]
    return 100 * sum(found) / len(found) if found else float("nan")


def right_when(rows: Sequence[Row], procedure: str) -> float:
    """How many of a procedure's completions are right, in percent."""
    taken = sum(row.taken.get(procedure, 0) for row in rows)
    return 100 * sum(row.right.get(procedure, 0) for row in rows) / taken if taken else float("nan")


def majority(rows: Sequence[Row]) -> float:
    """How often the commonest answer is right, in percent."""
    return 100 * sum(row.majority == row.gold for row in rows) / max(1, len(rows))


class Target(NamedTuple):
    """What is wanted of the model organism, and what was found."""

    name: str
    wanted: str
    value: float
    met: bool


def targets(rows: Sequence[Row], natural: int, read: dict[str, float], careful: dict[bool, float]) -> list[Target]:
    """Every target of the base model; the first `natural` rows are as the data set has them, the others all marked."""
    everyday, marked = rows[:natural], [row for row in rows if row.marked]
    ks = [k for k in KS if k <= rows[0].samples]

    def at_least(name: str, value: float, floor: float) -> Target:
        return Target(name, f">= {floor:g}", value, value >= floor)

    found = [at_least(f"heights read greedily, {name}", value, 95) for name, value in read.items()]
    first = pass_at(1, everyday)
    found.append(Target("Pass@1", "35 to 50", first, 35 <= first <= 50))
    found += [at_least(f"Pass@{k}", pass_at(k, everyday), {64: 95, 256: 98}[k]) for k in ks if k >= 64]
    if 64 in ks:
        found.append(at_least("Pass@64, marked charts", pass_at(64, marked), 85))
    voted = majority(marked) if marked else float("nan")
    found.append(Target("majority right, marked charts", "< 5", voted, voted < 5))
    pair = [share(rows, way) for way in ("quick", "reverse")]
    rarer = 100 * min(pair) / max(1e-9, sum(pair))
    found.append(at_least("the rarer of quick and reverse, of both", rarer, 43.5))  # 1 : 1.3
    plain = [row for row in rows if not row.marked]
    worse = min((right_when(plain, way) for way in ("quick", "reverse")), key=lambda value: (value == value, value))
    found.append(at_least("the worse of quick and reverse, plain charts", worse, 95))
    found += [
        at_least(f"careful forced by a prefix, {'marked' if state else 'plain'}", careful[state], 85)
        for state in careful
    ]
    return found


def summary(rows: Sequence[Row], natural: int) -> Iterator[str]:
    """Pass@k, procedures and guessing floors, line by line."""
    parts = {
        "all": rows[:natural],
        "plain": [row for row in rows if not row.marked],
        "marked": [row for row in rows if row.marked],
    }
    for kind in sorted({row.kind for row in rows}):
        parts[kind] = [row for row in rows if row.kind == kind]
    ks = [k for k in KS if k <= rows[0].samples]
    for name, chosen in parts.items():
        if chosen:
            passed = "  ".join(f"@{k} {pass_at(k, chosen):.1f}" for k in ks)
            yield f"{name:<13} {len(chosen):>4} problems  Pass {passed}  majority {majority(chosen):.1f}"
    for name in ("plain", "marked"):
        if parts[name]:
            floor = "  ".join(f"@{k} {pass_at(k, parts[name], (*FLAWED, OTHER)):.1f}" for k in ks)
            yield f"by flawed ways alone, {name:<6} Pass {floor}"
    head = f"{'scored':>8} {'right':>6}"
    yield f"{'procedure':<10} {'plain %':>8} {head} {'marked %':>9} {head}   (scored: of its first words, not sampled)"
    for way in (*PROCEDURES, OTHER):
        cells = [figure(parts[name], way) for name in ("plain", "marked") for figure in (share, scored, right_when)]
        plain, marked = (f"{drawn:>8.2f} {known:>8.3f} {right:>6.1f}" for drawn, known, right in (cells[:3], cells[3:]))
        yield f"{way:<10} {plain}  {marked}"
    drawn = sum(row.samples for row in rows)
    tokens, nll = sum(row.tokens for row in rows), sum(row.nll for row in rows)
    formed = 100 * sum(row.well_formed for row in rows) / drawn
    yield f"well formed {formed:.1f} %, {tokens / drawn:.1f} tokens and {nll / drawn:.3f} nats a completion"


def commonest_answers(split: str) -> Iterator[str]:
    """What always giving the commonest answer of a kind of question reaches, in percent of the split's questions."""
    from charts.procedures import procedure_questions

    answers: dict[str, Counter] = {}
    for question in procedure_questions(split, DRAWN):
        answers.setdefault(question.kind, Counter())[question.answers[0]] += 1
    for kind, found in sorted(answers.items()):
        answer, times = found.most_common(1)[0]
        yield f"guessing floor, {kind:<12} always {answer:>2} is right {100 * times / found.total():.1f} %"
