"""Files of other projects, brought to our form: one dict per problem with `problem_id` and `correct`.

* human-eval (openai/human-eval, `*_results.jsonl`): a line per sample with `task_id` and `passed`.
* RLVR-Decomposed (TianHongZXY/RLVR-Decomposed, output of eval.py): a line per sample with `question_id`,
  `generation_id`, `label`, `pred_answer`, `gold_answer`, `question`.
* evalplus (evalplus/evalplus, `*eval_results.json`): {"eval": {task: [{"base_status", "plus_status"}, ...]}} with pass,
  fail or timeout; up to version 0.2.0 {"eval": {task: {"base": [[status, details], ...], "plus": [...]}}} with success,
  failed or timed out. A sample is right when base and extra tests both pass, or the base tests where no extra ones were
  run at all; `marks` "base" counts the base tests alone.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

KNOWN = "known are our own files, human-eval, evalplus and RLVR-Decomposed results"
PASSED = {"pass": True, "success": True, "fail": False, "failed": False, "timeout": False, "timed out": False}
FLAT = {"task_id": "passed", "question_id": "label"}  # problem key -> mark key


def problems_of(values: Iterable, path: Path, settings: dict, marks: str) -> Iterator[dict]:
    """The problems in `values`, whoever wrote them; a leading {"settings": ...} line is moved into `settings`."""
    values = iter(values)
    first = next(values, None)
    if isinstance(first, dict) and set(first) == {"settings"} and isinstance(first["settings"], dict):
        settings.update(first["settings"])
        first = next(values, None)
        if first is None:
            return
    if not isinstance(first, dict):
        raise ValueError(f"{path} does not hold problems but {type(first).__name__} values: {KNOWN}")
    if isinstance(first.get("eval"), dict):
        try:
            yield from _evalplus(first["eval"], path, marks)
        except (AttributeError, TypeError):
            raise ValueError(f"{path} looks like evalplus results, but its 'eval' holds something else") from None
        return
    if "pass_at_k" in first:
        raise ValueError(f"{path} is a results file, not a samples file: its table is already computed")
    if "problem_id" in first:
        yield first
        yield from _dicts(values, path)
        return
    for key, mark in FLAT.items():
        if key in first:
            yield from _grouped(first, values, path, key, mark)
            return
    raise ValueError(f"{path}: the first value has none of problem_id, task_id, question_id or eval: {KNOWN}")


def _dicts(values: Iterable, path: Path) -> Iterator[dict]:
    for number, value in enumerate(values, start=2):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: value number {number} is not a problem but {type(value).__name__}")
        yield value


def _grouped(first: dict, values: Iterable, path: Path, key: str, mark: str) -> Iterator[dict]:
    """Lines of one sample each, in any order, gathered into problems."""
    problems: dict[str, dict] = {}
    numbers: set[tuple] = set()
    for number, row in enumerate(chain([first], _dicts(values, path)), start=1):
        _add_row(problems, numbers, row, number, path, key, mark)
    yield from problems.values()


def _add_row(problems: dict, numbers: set, row: dict, number: int, path: Path, key: str, mark: str) -> None:
    name, right = row.get(key), row.get(mark)
    if not isinstance(name, (str, int)):
        raise ValueError(f"{path}: line {number} has no {key}")
    if right is not True and right is not False:
        raise ValueError(f"{path}: line {number} ({key} {name}) has {mark} = {right!r}, which is not true or false")
    if "generation_id" in row:
        sample = (name, str(row["generation_id"]))
        if sample in numbers:
            raise ValueError(
                f"{path}: line {number} repeats generation_id {row['generation_id']} of {key} {name}: was a run "
                "resumed twice into one file?"
            )
        numbers.add(sample)
    if name not in problems:
        problems[name] = {"problem_id": str(name), "correct": []}
        problems[name] |= {"question": row["question"], "answer": row.get("gold_answer")} if "question" in row else {}
    problems[name]["correct"].append(right)
    if "pred_answer" in row:
        problems[name].setdefault("extracted", []).append(row["pred_answer"])


def _evalplus(tasks: dict, path: Path, marks: str) -> Iterator[dict]:
    for name, runs in tasks.items():
        if isinstance(runs, dict):
            base, plus = ([status for status, *_ in runs.get(tests) or []] for tests in ("base", "plus"))
        else:
            base = [run.get("base_status") for run in runs]
            plus = [run.get("plus_status") for run in runs]
        plus = base if marks == "base" or set(plus) <= {None} else plus  # the latter: evaluated with --base-only
        if None in base or None in plus or len(base) != len(plus):
            tests = "base" if None in base or not base else "extra"
            raise ValueError(f"{path}: task {name} has samples without a status of the {tests} tests")
        unknown = [status for status in (*base, *plus) if status not in PASSED]
        if unknown:
            raise ValueError(f"{path}: task {name} has the status {unknown[0]!r}; known are {', '.join(PASSED)}")
        right = [PASSED[b] and PASSED[p] for b, p in zip(base, plus, strict=True)]
        yield {"problem_id": name, "base" if marks == "base" else "correct": right}
