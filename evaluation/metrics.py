"""What Pass@k does not show: votes, steadiness, diversity, format, length, and the kinds of question.

Every metric is a mean over problems of one number per problem, so each gets its interval from the same bootstrap.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from evaluation.estimators import g_pass_at_k, guessing_floor, mean_g_pass_at_k, pass_at_k, pass_hat_k
from evaluation.intervals import SEED, bootstrap_intervals
from evaluation.samples import SampleSet

METRICS = {
    "avg@n": "share of right samples",
    "maj@k": "the most frequent of k answers is right (no answer does not vote, ties share the vote)",
    "pass^k": "all k samples are right",
    "g-pass@k": "at least 25, 50, 75 or 100 % of k samples are right, and the mean above 50 %",
    "distinct": "number of different answers among a problem's samples",
    "shares": "problems with all samples right, with none right",
    "rates": "well-formed and truncated completions, tokens a completion",
    "kinds": "Pass@k of each kind of question, with the guessing floor of yes/no questions",
}
OF_SAMPLES = ("distinct", "rates")  # of problems that have samples alone, where others are counted as wrong
G_PASS_SHARES = (0.25, 0.5, 0.75, 1.0)
VOTE_DRAWS = 64
NUMBER = re.compile(r"[+-]?(\d+(,\d{3})*(\.\d+)?|\.\d+)(e[+-]?\d+)?")


@lru_cache(maxsize=1 << 16)
def same_answer_key(answer: str | None) -> str | None:
    """Answers that count as one vote share this key: case, outer punctuation and the spelling of a number do not tell
    them apart (1,200 and 1200.0 do not differ, 12 and 12% do)."""
    if answer is None:
        return None
    key = " ".join(str(answer).casefold().split()).lstrip(" \"'`*").rstrip(" .\"'`*")
    sign = key.removeprefix("$")
    if NUMBER.fullmatch(sign):
        return repr(float(sign.replace(",", "")) + 0.0)
    return key or None


class Details:
    """Collects, while a samples file is read, the few numbers per problem that the metrics need."""

    def __init__(self):
        self.of: dict[str, dict] = {}

    def visit(self, problem: dict, marks: list[bool]) -> None:
        kept: dict = {"right": np.array(marks)}
        if isinstance(problem.get("extracted"), list):
            places: dict[str, int] = {}
            keys = [same_answer_key(None if answer is None else str(answer)) for answer in problem["extracted"]]
            kept["codes"] = np.array([-1 if key is None else places.setdefault(key, len(places)) for key in keys])
        for name in ("well_formed", "truncated", "tokens"):
            values = problem.get(name)
            if isinstance(values, list) and values and all(isinstance(value, (bool, int)) for value in values):
                kept[name] = sum(values) / len(values)
        stored = problem.get("answers")
        golds = stored if isinstance(stored, list) and stored else [problem.get("answer")]
        kept["yes_no"] = all(str(gold).strip().casefold() in ("yes", "no") for gold in golds)
        self.of[str(problem["problem_id"])] = kept


def majority(codes: np.ndarray, right: np.ndarray, ks: Sequence[int], rng: np.random.Generator) -> np.ndarray:  # (K,)
    """maj@k of one problem: over random draws of k of its samples (one exact count at k = n), the share of right marks
    within the answer that most of them gave; answers that tie share the vote, and no answer at all is wrong."""
    count = int(codes.max(initial=-1)) + 1
    if count == 0:
        return np.zeros(len(ks))
    rightness = np.bincount(codes[codes >= 0], right[codes >= 0], count) / np.bincount(codes[codes >= 0])
    order = rng.permuted(np.tile(np.arange(len(codes)), (VOTE_DRAWS, 1)), axis=1)  # (D, n)
    result = np.empty(len(ks))
    for place, k in enumerate(ks):
        if k == 1:  # exact: that of a sample, or wrong where it has no answer
            result[place] = right[codes >= 0].sum() / len(codes)
            continue
        drawn = codes[order[:, :k]] if k < len(codes) else codes[None]  # (D, k)
        cells = drawn + np.arange(len(drawn))[:, None] * count
        votes = np.bincount(cells[drawn >= 0], minlength=len(drawn) * count).reshape(len(drawn), count)
        most = votes.max(axis=1, keepdims=True)
        winners = (votes == most) & (most > 0)
        result[place] = (winners @ rightness / np.maximum(1, winners.sum(axis=1))).mean()
    return result


def check_metrics(names: Sequence[str]) -> list[str]:
    """The metrics asked for, with "all" spelt out; ValueError for an unknown one."""
    unknown = [name for name in names if name not in METRICS and name != "all"]
    if unknown:
        raise ValueError(f"--metrics: {unknown[0]!r} is unknown; known are {', '.join(METRICS)} and all")
    return list(METRICS) if "all" in names else list(dict.fromkeys(names))


def compute(samples: SampleSet, details: Details, names: Sequence[str], ks: Sequence[int]) -> tuple[dict, list[str]]:
    """The metrics asked for, as {name: {column: {"value", "interval"}}}, and those the file has no data for."""
    kept = [details.of.get(name) or _never_right(int(n)) for name, n in zip(samples.ids, samples.n, strict=True)]
    sampled = [i for i, name in enumerate(samples.ids) if name in details.of]
    results, absent = {}, []
    for name in names:
        rows = sampled if name in OF_SAMPLES else list(range(len(samples)))
        columns = _columns(name, samples.n[rows], samples.c[rows], [kept[i] for i in rows], ks)
        if columns:
            results[name] = _with_intervals(columns, [samples.clusters[i] for i in rows], name)
        elif name != "kinds":
            absent.append(name)
    if "kinds" in names:
        if any(samples.kinds):
            results["kinds"] = _by_kind(samples.kinds, samples.n, samples.c, samples.clusters, kept, ks)
        else:
            absent.append("kinds")
    return results, absent


def _never_right(n: int) -> dict:
    """The details of a problem without samples that is counted as never right (--missing wrong)."""
    return {"right": np.zeros(n, bool), "codes": np.full(n, -1), "yes_no": False}


def _columns(name: str, n: np.ndarray, c: np.ndarray, kept: list[dict], ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Column name -> one number per problem (P,); empty when the file does not hold what the metric needs."""
    answered = all("codes" in one for one in kept)
    match name:
        case "avg@n":
            return {"": c / n}
        case "maj@k" if answered:
            rng = np.random.default_rng(SEED)
            table = np.stack([majority(one["codes"], one["right"], ks, rng) for one in kept])
            return {str(k): table[:, i] for i, k in enumerate(ks)}
        case "pass^k":
            table = pass_hat_k(n, c, ks)
            return {str(k): table[:, i] for i, k in enumerate(ks)}
        case "g-pass@k":
            columns: dict[str, np.ndarray] = {}
            for share in G_PASS_SHARES:
                table = g_pass_at_k(n, c, ks, share)
                columns |= {f"{k} at {100 * share:.0f} %": table[:, i] for i, k in enumerate(ks)}
            table = mean_g_pass_at_k(n, c, ks)
            return columns | {f"{k} mean": table[:, i] for i, k in enumerate(ks)}
        case "distinct" if answered:
            return {"": np.array([one["codes"].max(initial=-1) + 1.0 for one in kept])}
        case "shares":
            return {"all right": (c == n) * 1.0, "none right": (c == 0) * 1.0}
        case "rates":
            named = {"well_formed": "well-formed", "truncated": "truncated", "tokens": "mean tokens"}
            there = [key for key in named if all(key in one for one in kept)]
            return {named[key]: np.array([one[key] for one in kept]) for key in there}
    return {}


def _with_intervals(columns: dict[str, np.ndarray], clusters: list[str], name: str = "") -> dict:
    table = np.stack(list(columns.values()), axis=1)
    bounds = bootstrap_intervals(table, clusters, within=(0.0, 1.0))
    for i, column in enumerate(columns):
        if name == "distinct" or column == "mean tokens":  # not a share: its range has no end to bound it by
            bounds[i] = bootstrap_intervals(table[:, [i]], clusters)[0]
    return {
        column: {"value": round(float(table[:, i].mean()), 6), "interval": [round(float(b), 6) for b in bounds[i]]}
        for i, column in enumerate(columns)
    }


def _by_kind(kinds: list[str], n, c, clusters: list[str], kept: list[dict], ks: Sequence[int]) -> dict:
    table = pass_at_k(n, c, ks)
    result = {}
    for kind in sorted(set(kinds)):
        rows = [i for i, other in enumerate(kinds) if other == kind]
        columns = {str(k): table[rows, i] for i, k in enumerate(ks)}
        shares = _with_intervals(columns, [clusters[i] for i in rows])
        result[kind or "(none)"] = {"num_problems": len(rows), "pass_at_k": shares}
        floor = guessing_floor([kept[i]["yes_no"] for i in rows], ks)
        if floor.any():
            rounded = {str(k): round(share, 6) for k, share in zip(ks, floor.tolist(), strict=True)}
            result[kind or "(none)"]["guessing_floor"] = rounded
    return result


def lines(results: dict, ks: Sequence[int]) -> list[str]:
    """The metrics as text: a number with its interval, or one line of all k (their intervals are in the JSON)."""
    text = []
    for name, columns in results.items():
        rows: dict[str, list[str]] = {}
        for column, entry in columns.items() if name != "kinds" else ():
            k, _, rest = column.partition(" ")
            if k.isdigit():
                rows.setdefault(f"{name} {rest}".strip(), []).append(f"@{k} {100 * entry['value']:.1f}")
                continue
            scale, unit = (1, "") if name == "distinct" or column == "mean tokens" else (100, "%")
            low, high = (scale * bound for bound in entry["interval"])
            text.append(f"  {column or name}: {scale * entry['value']:.2f}{unit}   [{low:.1f}, {high:.1f}]")
        text += [f"  {label} (%): " + "  ".join(values) for label, values in rows.items()]
    for kind, entry in results.get("kinds", {}).items():
        values = "  ".join(f"@{k} {100 * entry['pass_at_k'][str(k)]['value']:.1f}" for k in ks)
        text.append(f"  Pass@k of {kind}, {entry['num_problems']} problems (%): {values}")
        if "guessing_floor" in entry:
            floor = "  ".join(f"@{k} {100 * entry['guessing_floor'][str(k)]:.1f}" for k in ks)
            text.append(f"    yes/no by guessing (%): {floor}")
    return text
