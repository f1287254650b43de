"""Marks computed again from the stored answers, with a rule of charts.answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charts.record import ChartQuestion


def question_of(problem: dict, answers: list) -> ChartQuestion:
    """What a samples file says of a problem's question, with these gold answers."""
    from charts.record import ChartQuestion

    return ChartQuestion(
        id=str(problem["problem_id"]),
        question=str(problem.get("question") or ""),
        answers=tuple(map(str, answers)),
        kind=str(problem.get("kind") or ""),
        answer_kind=str(problem.get("answer_kind") or ""),
        tolerance=problem.get("tolerance"),
        image_size=_pair(problem.get("image_size")),
        box_frame=_pair(problem.get("box_frame")),
    )


def _pair(value: Any) -> tuple[int, int] | None:
    """Width and height as a samples file has them; None for anything else."""
    two = isinstance(value, list) and len(value) == 2
    return (value[0], value[1]) if two and all(isinstance(one, int | float) and one > 0 for one in value) else None


def marker(rule: str) -> Callable[[dict], list[bool | None]]:
    """A function from a problem of a samples file to its marks under `rule`; [] for one without a gold answer.

    None is the mark of an answer that the rule cannot decide.
    """
    from charts.answers import RULES, grade

    if rule.partition(":")[0] not in RULES:
        raise ValueError(f"--rescore: {rule!r} is no rule; known are {', '.join(RULES)}")

    def mark(problem: dict) -> list[bool | None]:
        extracted, answers = problem.get("extracted"), problem.get("answers")
        if not isinstance(extracted, list) or not isinstance(answers, list):
            raise ValueError(f"--rescore needs 'extracted' and 'answers', problem {problem['problem_id']} lacks them")
        question = question_of(problem, answers)
        stored = str(problem.get("rule") or "")  # with the flags of this problem: chartqapro:Y-
        own = stored if stored.partition(":")[0] == rule else rule
        try:
            verdicts = {answer: grade(answer, question, own) for answer in set(extracted)} if answers else {}
        except (TypeError, ArithmeticError) as error:
            raise ValueError(f"--rescore cannot read problem {problem['problem_id']}: {error!r}") from None
        return [verdicts[answer].correct for answer in extracted] if answers else []

    return mark
