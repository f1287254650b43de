"""The reward functions, each a factory closed over the questions of the run.

A function has TRL's signature, f(prompts, completions, completion_ids, **columns), and its name is the metric's:
rewards/accuracy/mean. The column `problem_id` names the question of each completion. Every reward lies in [0, 1] and
is None where the question has no gold for it. Only `accuracy` decides about the sign of PSR, NSR and W-REINFORCE.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from rapidfuzz.distance import LCSseq

from charts.answers import grade, numeric_error
from charts.boxes import KIND, overlap
from charts.parsing import Parsed
from charts.record import ChartQuestion
from rewards.chart_types import family, same_type
from rewards.completions import distinct_step_share, parse, report, text_of
from rewards.tables import rms_f1

Questions = Mapping[str, ChartQuestion]
RewardFunction = Callable[..., list[float | None]]
DEFAULT_MAX_TOKENS = 1_024
_WORDS = re.compile(r"\w+")
_MAX_WORDS = 300


def _each(
    name: str,
    score: Callable[[Parsed, ChartQuestion], float | None],
    questions: Questions,
    form: str = "structured",
) -> RewardFunction:
    """The reward `name`: `score` of every completion, parsed as `form`, and its question."""

    def reward(prompts, completions, completion_ids=None, *, problem_id, **columns) -> list[float | None]:
        texts = map(text_of, completions)
        return [score(parse(text, form), questions[one]) for text, one in zip(texts, problem_id, strict=True)]

    reward.__name__ = name
    return reward


def accuracy_reward(
    questions: Questions, rule: str | None = "strict", soft_numeric: bool = False, form: str = "structured"
) -> RewardFunction:
    """1 for a right last answer, 0 for a wrong one or none, None without gold; where a box is asked for, its IoU.

    With `soft_numeric` a wrong number earns 0.5 / (1 + relative error): more when nearer, and always below 0.5, so that
    the default threshold still separates right from wrong.
    """

    def score(said: Parsed, question: ChartQuestion) -> float | None:
        if question.answer_kind == KIND:
            return overlap(said.answer, question)
        correct = grade(said.answer, question, rule).correct
        error = numeric_error(said.answer, question) if soft_numeric and correct is False else None
        soft = 0.0 if error is None else 0.499 / (1.0 + error)
        return None if correct is None else 1.0 if correct else soft

    return _each("accuracy", score, questions, form)


def iou_reward(questions: Questions, form: str = "structured") -> RewardFunction:
    """The box's IoU with the gold one, 0 for an answer that is no box; None where no box is asked for."""
    return _each(
        "iou", lambda said, asked: overlap(said.answer, asked) if asked.answer_kind == KIND else None, questions, form
    )


def format_reward(questions: Questions, form: str = "structured") -> RewardFunction:
    """1 for the form that the prompt asks for, 0.5 and 0.75 for its parts, 0 otherwise. Logs what `report` counts."""

    def format(prompts, completions, completion_ids=None, *, log_metric=None, **columns) -> list[float | None]:
        parsed = [parse(text_of(completion), form) for completion in completions]
        report(parsed, [family(one.chart_type) or (one.chart_type and "other") for one in parsed], log_metric)
        return [one.grade for one in parsed]

    return format


def chart_type_reward(questions: Questions) -> RewardFunction:
    """1 when the named type is of the gold's family (a column chart is a bar chart), None without a gold type."""

    def score(said: Parsed, question: ChartQuestion) -> float | None:
        return float(same_type(said.chart_type, question.chart_type)) if question.chart_type else None

    return _each("chart_type", score, questions)


def table_reward(questions: Questions) -> RewardFunction:
    """F1 of the written table against the gold table, after RMS-F1 (rewards/tables.py); None without one."""
    return _each("table", lambda said, asked: rms_f1(said.table, asked.table) if asked.table else None, questions)


def length_reward(
    questions: Questions, max_completion_tokens: int | None = None, form: str = "structured"
) -> RewardFunction:
    """1 for a well-begun completion of up to half the token limit, falling to 0 at the limit.

    Counts tokens, not step markers, and pays only for a completion in form: repeated steps cost their share.
    """
    limit = max_completion_tokens or DEFAULT_MAX_TOKENS

    def length(prompts, completions, completion_ids=None, **columns) -> list[float | None]:
        if completion_ids is None:
            return [None] * len(completions)
        rewards: list[float | None] = []
        for completion, ids in zip(completions, completion_ids, strict=True):
            parsed = parse(text_of(completion), form)
            room = min(1.0, max(0.0, 2.0 * (1.0 - len(ids) / limit)))
            rewards.append(room * distinct_step_share(parsed) if parsed.grade else 0.0)
        return rewards

    return length


def tags_reward(questions: Questions) -> RewardFunction:
    """1 when all eight tags stand once, in order and filled: adds little to `format`, kept because it is published."""
    return _each("tags", lambda said, asked: float(said.all_tags and said.grade > 0), questions)


def process_reward(questions: Questions) -> RewardFunction:
    """ROUGE-L F1 of the steps with the reference reasoning, None without one.

    The published reward takes the cosine of sentence embeddings; this needs no second model, and the longest common
    subsequence of words gives little for words in arbitrary order.
    """

    def score(said: Parsed, question: ChartQuestion) -> float | None:
        return rouge_l(" ".join(dict.fromkeys(said.steps)), question.reasoning) if question.reasoning else None

    return _each("process", score, questions)


def rouge_l(text: str, gold: str) -> float:
    """F1 of the longest common subsequence of words, of at most `_MAX_WORDS` of the gold and four times as many."""
    said, meant = (_WORDS.findall(one.lower())[: 4 * _MAX_WORDS] for one in (text, gold))
    meant = meant[:_MAX_WORDS]
    return 2 * LCSseq.similarity(said, meant) / (len(said) + len(meant)) if said and meant else 0.0
