"""Is this answer right? One matcher for reward, sampling and scoring.

`grade` never raises, whatever an answer is (but OSError where math-verify cannot be run at all), answers repeated
strings from a cache, and says why. A question without a gold answer is unscorable: `correct` is None, which moves
nothing and counts nowhere.
"""

from dataclasses import dataclass
from functools import lru_cache

from charts import boxes, math_answers, public_rules
from charts.gold import Gold
from charts.matcher import match, relative_error
from charts.record import ChartQuestion

RULES = ("strict", "relaxed", "evochart", "chartqapro", "chartbench", "math", "iou")
MAX_ANSWER_CHARACTERS = 2_000  # a longer "answer" is an essay, and is wrong under every rule


@dataclass(frozen=True)
class Verdict:
    correct: bool | None
    reason: str


NO_GOLD = Verdict(None, "no gold answer")
NO_ANSWER = Verdict(False, "no answer")
TOO_LONG = Verdict(False, "answer too long")


def grade(answer: str | None, question: ChartQuestion, rule: str | None = None) -> Verdict:
    """The verdict on `answer` under `rule` (None: the data set's own public rule; "strict": this project's).

    Of answers of the kind "math" the strict rule is that of math-verify, "math".
    """
    golds = question.answers
    if not golds:
        return NO_GOLD
    if not isinstance(answer, str) or not answer.strip():
        return NO_ANSWER
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return TOO_LONG
    rule = rule or question.rule
    if rule == "iou" or (rule == "strict" and question.answer_kind == boxes.KIND):
        return _box(answer, question)
    if rule == "strict" and question.answer_kind == "math":
        rule = "math"
    text = question.question if rule == "strict" else ""
    return _grade(rule, golds, answer, question.answer_kind, question.tolerance, text)


def _box(answer: str, question: ChartQuestion) -> Verdict:
    """Right from an IoU of one half on, under every --reward-threshold: that is what published tables count."""
    share = boxes.overlap(answer, question)
    if share is None:
        return Verdict(None, "the gold answer is no box")
    return Verdict(share >= boxes.CORRECT_FROM, f"IoU {share:.2f}" if boxes.read_box(answer) else "no box")


def numeric_error(answer: str | None, question: ChartQuestion) -> float | None:
    """The smallest relative error of a number against a gold that allows a tolerance; None for everything else."""
    if not isinstance(answer, str) or len(answer) > MAX_ANSWER_CHARACTERS or question.answer_kind == "math":
        return None
    golds = (_gold(gold, question.answer_kind, question.tolerance, question.question) for gold in question.answers)
    errors = [error for gold in golds if (error := relative_error(answer, gold)) is not None]
    return min(errors, default=None)


@lru_cache(maxsize=1 << 12)  # samples of a problem come together; a larger cache would only use more memory
def _grade(
    rule: str, golds: tuple[str, ...], answer: str, answer_kind: str, tolerance: float | None, question: str
) -> Verdict:
    name, _, detail = rule.partition(":")
    if name == "math":
        return Verdict(*math_answers.decide(golds, answer))
    verdict = Verdict(False, "differs")
    for gold in golds:
        if name == "strict":
            right, reason = match(answer, _gold(gold, answer_kind, tolerance, question))
            verdict = Verdict(right, reason)
        elif name == "relaxed":
            verdict = _plain(public_rules.relaxed(answer, gold))
        elif name == "evochart":
            verdict = _plain(public_rules.evochart(answer, gold, clear=tolerance == 0))
        elif name == "chartbench":
            verdict = _plain(public_rules.chartbench(answer, gold, statement=detail != "value"))
        elif name == "chartqapro":
            verdict = _plain(min(public_rules.chartqapro_scores(answer, gold, detail), default=0.0) >= 0.5)
        else:
            return Verdict(None, f"unknown rule {rule!r}: one of {', '.join(RULES)}")
        if verdict.correct:
            break
    return verdict


@lru_cache(maxsize=1 << 10)
def _gold(gold: str, answer_kind: str, tolerance: float | None, question: str) -> Gold:
    return Gold.read(gold, answer_kind, tolerance, question)


def _plain(right: bool) -> Verdict:
    return Verdict(right, "equal under the public rule" if right else "differs under the public rule")
