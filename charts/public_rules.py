"""The data sets' own public matching rules, for numbers comparable with other people's.

`relaxed` is the rule of Pix2Struct, lmms-eval and VLMEvalKit, bit for bit, its faults included: "x%" is x/100; within
5 % when both parse and the gold is not zero; otherwise case-insensitive equality.
"""

import re

from rapidfuzz.distance import Levenshtein

from charts.values import python_literal

PUBLIC_TOLERANCE = 0.05
_END_OF_SENTENCE = "<\uff5cend\u2581of\u2581sentence\uff5c>"
_WORD = re.compile(r"(?<![\w'])\w[\w']*")


def relaxed(answer: str, gold: str) -> bool:
    value, target = _number(answer), _number(gold)
    if value is not None and target:
        return abs(value - target) / abs(target) <= PUBLIC_TOLERANCE
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


def chartbench(answer: str, gold: str, statement: bool = True) -> bool:
    """ChartBench's own script, bit for bit, its faults included, so that figures compare with the published ones.

    A statement (gold yes or no) is called true by an answer that has "yes" anywhere in it, and false by any other
    answer. A value is within 5 % of the *answer*; no percent is divided, except that an answer "x%" is x/100 as well;
    an answer of 0 is right for every gold of at most 0.05. Anything else is case-insensitive equality, after the
    letters that the script takes off both ends of an answer for the sake of one model's end token.
    """
    if statement and gold.lower() in ("yes", "no"):
        return ("yes" in answer.lower()) == (gold.lower() == "yes")
    answer = answer.strip().strip(_END_OF_SENTENCE)
    said, meant = _plain(answer.rstrip("%")), _plain(gold.rstrip("%"))
    if said is None or meant is None:
        return answer.lower() == gold.lower()
    readings = (said, said / 100.0) if answer.endswith("%") else (said,)
    return any((abs(meant - one) / abs(one) if one else meant) <= PUBLIC_TOLERANCE for one in readings)


def chartqapro_scores(answer: str, gold: str, exact: str = "") -> list[float]:
    """ChartQAPro: one score per list element, their mean is the public score.

    `exact` holds one letter per element ("Y" for a year, or "Y" alone for all): those want the string itself. Numbers
    count within 5 % (0 only as 0), everything else by normalised edit similarity, 0 unless it is above one half. Full
    stops at both ends do not count. A gold list may lack its quotes, an answer that lacks them is one element.
    """
    answer, gold = (text.strip(".").strip("\n") for text in (answer, gold))
    golds, answers = _literal_list(_quoted(gold)) or _literal_list(gold) or [gold], _literal_list(answer) or [answer]
    exact = exact if len(exact) >= len(golds) else exact * len(golds)
    scores = [0.0] * max(len(golds), len(answers))
    for i, (want, have) in enumerate(zip(golds, answers, strict=False)):
        if exact[i : i + 1] == "Y":
            scores[i] = float(want.strip().lower() == have.strip().lower())
        else:
            scores[i] = _chartqapro_element(have, want)
    return scores


def _chartqapro_element(answer: str, gold: str) -> float:
    answer, gold = (text.strip().strip("%").strip() for text in (answer, gold))
    value, target = _plain(answer.strip("%")), _plain(gold.strip("%"))
    if value is not None and target is not None:
        if target == 0:
            return float(value == 0)
        return float(abs(value - target) / abs(target) <= PUBLIC_TOLERANCE)
    return similarity(answer.lower(), gold.lower())


def similarity(answer: str, gold: str) -> float:
    """ANLS: 1 - edit distance / longer length, 0 unless that is above one half; white space counts as one blank."""
    answer, gold = (" ".join(text.split()) for text in (answer, gold))
    score = Levenshtein.normalized_similarity(answer, gold)
    return score if score > 0.5 else 0.0


def _plain(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _quoted(text: str) -> str:
    """A list on one line whose words stand without quotes, with quotes around each; words of one element then join."""
    inner = re.fullmatch(r"\[(.*)\]", text.strip())
    return "[" + _WORD.sub(r"'\g<0>'", inner[1]) + "]" if inner else text


def _literal_list(text: str) -> list[str]:
    """The elements of a list as Python writes it; [] for any other text, and for an empty list."""
    parsed = python_literal(text) if len(text) <= 10_000 else None
    return [str(item).strip(" '") for item in parsed] if isinstance(parsed, list) else []
