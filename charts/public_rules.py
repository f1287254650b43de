"""The data sets' own public matching rules, for numbers comparable with other people's.

`relaxed` is the rule of Pix2Struct, lmms-eval and VLMEvalKit, bit for bit, its faults included: "x%" is x/100; within
5 % when both parse and the gold is not zero; otherwise case-insensitive equality.
"""

from __future__ import annotations

import ast
import re

PUBLIC_TOLERANCE = 0.05


def relaxed(answer: str, gold: str, tolerance: float = PUBLIC_TOLERANCE) -> bool:
    value, target = _number(answer), _number(gold)
    if value is not None and target:
        return abs(value - target) / abs(target) <= tolerance
    return answer.lower() == gold.lower()


def evochart(answer: str, gold: str, clear: bool) -> bool:
    """EvoChart-QA: charts whose values are printed (`is_clear`) want the string itself, others are relaxed."""
    if clear:
        return answer.strip().lower() == gold.strip().lower()
    return relaxed(answer, gold)


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def chartqapro_scores(answer: str, gold: str, exact: str = "") -> list[float]:
    """ChartQAPro: one score per list element, their mean is the public score.

    `exact` holds one letter per element ("Y" for a year, or "Y" alone for all): those want the string itself. Numbers
    count within 5 % (0 only as 0), everything else by normalised edit similarity, cut to 0 below one half.
    """
    golds, answers = _elements(gold), _elements(answer)
    exact = exact if len(exact) >= len(golds) else (exact * len(golds))[: len(golds)]
    scores = [0.0] * max(len(golds), len(answers))
    for i, (want, have) in enumerate(zip(golds, answers, strict=False)):
        if exact[i : i + 1] == "Y":
            scores[i] = float(want.strip().lower() == have.strip().lower())
        else:
            scores[i] = _chartqapro_element(have, want)
    return scores


def _chartqapro_element(answer: str, gold: str) -> float:
    answer, gold = (text.strip().strip("%").strip() for text in (answer, gold))
    value, target = _plain(answer), _plain(gold)
    if value is not None and target is not None:
        if target == 0:
            return float(value == 0)
        return float(abs(value - target) / abs(target) <= PUBLIC_TOLERANCE)
    return similarity(answer.lower(), gold.lower())


def similarity(answer: str, gold: str) -> float:
    """ANLS: 1 - edit distance / longer length, 0 when that is below one half."""
    longest = max(len(answer), len(gold))
    if not longest:
        return 1.0
    if abs(len(answer) - len(gold)) * 2 > longest:
        return 0.0
    score = 1.0 - edit_distance(answer, gold) / longest
    return score if score >= 0.5 else 0.0


def edit_distance(one: str, other: str) -> int:
    if len(one) < len(other):
        one, other = other, one
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def _plain(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _elements(text: str) -> list[str]:
    """The elements of "[a, b]", quoted or not; any other text is one element."""
    inner = re.fullmatch(r"\s*\[(.*)\]\s*", text, re.DOTALL)
    if not inner or len(text) > 10_000:
        return [text]
    try:
        parsed = ast.literal_eval(text.strip())
        if isinstance(parsed, list) and parsed:
            return [str(item).strip(" '") for item in parsed]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return [item.strip(" '\"") for item in inner[1].split(",")] if inner[1].strip() else [text]
