"""Marks computed again from the stored answers, with a rule of charts.answers."""

from collections.abc import Callable
from typing import Any


def marker(rule: str) -> Callable[[dict], list[bool]]:
    """A function from a problem of a samples file to its marks under `rule`; [] for one without a gold answer."""
    from charts.answers import RULES, grade
    from charts.record import ChartQuestion

    if rule.partition(":")[0] not in RULES:
        raise ValueError(f"--rescore: {rule!r} is no rule; known are {', '.join(RULES)}")

    def mark(problem: dict) -> list[bool]:
        extracted, answers = problem.get("extracted"), problem.get("answers")
        if not isinstance(extracted, list) or not isinstance(answers, list):
            raise ValueError(f"--rescore needs 'extracted' and 'answers', problem {problem['problem_id']} lacks them")
        text, kind, answer_kind = (str(problem.get(name) or "") for name in ("question", "kind", "answer_kind"))
        facts: dict[str, Any] = {"kind": kind, "answer_kind": answer_kind, "tolerance": problem.get("tolerance")}
        question = ChartQuestion(str(problem["problem_id"]), text, tuple(answers), **facts)
        stored = str(problem.get("rule") or "")  # with the flags of this problem: chartqapro:Y-
        own = stored if stored.partition(":")[0] == rule else rule
        verdicts = {answer: grade(answer, question, own) for answer in set(extracted)} if answers else {}
        unmarked = [verdict.reason for verdict in verdicts.values() if verdict.correct is None]
        if unmarked:
            raise ValueError(f"--rescore {rule}: problem {question.id} cannot be marked: {unmarked[0]}")
        return [verdicts[answer].correct is True for answer in extracted] if answers else []

    return mark
