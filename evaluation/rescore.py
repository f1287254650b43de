"""Marks computed again from the stored answers, with a rule of charts.answers."""

from __future__ import annotations

from collections.abc import Callable


def marker(rule: str) -> Callable[[dict], list[bool | None]]:
    """A function from a problem of a samples file to its marks under `rule`; [] for one without a gold answer.

    None is the mark of an answer that the rule cannot decide.
    """
    from charts.answers import RULES, grade
    from charts.record import ChartQuestion

    if rule.partition(":")[0] not in RULES:
        raise ValueError(f"--rescore: {rule!r} is no rule; known are {', '.join(RULES)}")

    def mark(problem: dict) -> list[bool | None]:
        extracted, answers = problem.get("extracted"), problem.get("answers")
        if not isinstance(extracted, list) or not isinstance(answers, list):
            raise ValueError(f"--rescore needs 'extracted' and 'answers', problem {problem['problem_id']} lacks them")
        question = ChartQuestion(
            id=str(problem["problem_id"]),
            question=str(problem.get("question") or ""),
            answers=tuple(answers),
            kind=str(problem.get("kind") or ""),
            answer_kind=str(problem.get("answer_kind") or ""),
            tolerance=problem.get("tolerance"),
        )
        stored = str(problem.get("rule") or "")  # with the flags of this problem: chartqapro:Y-
        own = stored if stored.partition(":")[0] == rule else rule
        verdicts = {answer: grade(answer, question, own) for answer in set(extracted)} if answers else {}
        return [verdicts[answer].correct for answer in extracted] if answers else []

    return mark
