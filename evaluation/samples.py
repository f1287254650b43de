"""Samples file -> what scoring needs of it, in one pass that keeps a few numbers a problem.

A problem is a dict with `problem_id` and, per sample, `correct` (and, in our own files, `extracted`, `well_formed`,
`tokens`, `truncated`, ...). Other projects' files are brought to that form by `foreign`. Anything that would make a
score mean something else is refused by name: marks that are not booleans, a problem that occurs twice, counts that
contradict the marks, lines of two runs in one file, a file that ends too early.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.commands import name_some
from evaluation.foreign import problems_of
from evaluation.json_stream import json_values

PER_SAMPLE = ("samples", "extracted", "correct", "correct_strict", "well_formed", "tokens", "truncated")

_NOTHING = {False: "no samples", True: "no sample could be marked"}


@dataclass
class SampleSet:
    """The problems of one samples file, in its order: ids, samples and right samples of each, and where they are from.

    `unsampled` are (problem, reason, what the file says of it) of problems without samples; `clusters` are chart ids (a
    problem without an image is its own cluster); `settings` is what the sampler wrote about the run, or {}.
    """

    path: Path
    marks: str
    settings: dict = field(default_factory=dict)
    run: str | None = None
    ids: list[str] = field(default_factory=list)
    n: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    c: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    clusters: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    unsampled: list[tuple[str, str, dict]] = field(default_factory=list)
    undecided: int = 0  # samples left out because their mark is null
    repeated: int = 0  # rows left out because their problem had occurred before
    identical: int = 0  # problems of several samples whose texts are all the same

    def __len__(self) -> int:
        return len(self.ids)

    def fingerprint(self) -> str:
        """16 hex digits over every problem's id, question, gold answer and chart; the order does not count."""
        return hashlib.sha256(b"".join(sorted(self.digests))).hexdigest()[:16]

    def marked_by(self) -> str | None:
        """The rule behind the marks, as far as the file says."""
        rule = {"correct_strict": "strict", "base": "base tests"}.get(self.marks)
        data = self.settings.get("data")
        stored = data.get("marked_by") if isinstance(data, dict) and self.marks == "correct" else None
        named = " and ".join(map(str, stored)) if isinstance(stored, list) else None
        return rule or named or (self.marks.removeprefix("rescored: ") if self.marks.startswith("rescored: ") else None)

    def keep(self, chosen: list[int]) -> None:
        """Leave only the problems at these places."""
        for name in ("ids", "clusters", "kinds", "digests"):
            setattr(self, name, [getattr(self, name)[i] for i in chosen])
        self.n, self.c = self.n[chosen], self.c[chosen]


def read_samples(
    path: str | Path,
    *,
    marks: str = "correct",
    duplicates: str = "refuse",
    mark: Callable[[dict], list[bool | None]] | None = None,
    visit: Callable[[dict, list[bool]], None] | None = None,
) -> SampleSet:
    """Read one samples file. A sample whose mark is null, as no rule could decide it, is left out of its problem.

    `mark(problem)` replaces the marks stored; `visit(problem, marks)` sees every problem that is kept, in order.
    """
    path = Path(path)
    result = SampleSet(path=path, marks=marks, settings=_settings_beside(path))
    seen: set[str] = set()
    counts: list[tuple[int, int]] = []
    runs: Counter[str | None] = Counter()
    for number, problem in enumerate(problems_of(json_values(path), path, result.settings, marks), start=1):
        name = _problem_id(problem, number, path)
        runs[None if (run := problem.get("run")) is None else str(run)] += 1
        if name in seen:
            _check_repeat(name, number, path, duplicates)
            result.repeated += 1
            continue
        seen.add(name)
        failed = "error" in problem and not problem.get("samples")
        said = [] if failed else mark(problem) if mark else _checked_marks(problem, marks, name, path)
        problem, right = _decided(result, problem, said)
        if not right:
            result.unsampled.append((name, *_unsampled(problem, failed, said)))
            continue
        counts.append((len(right), sum(right)))
        _keep(result, problem, name)
        if visit:
            visit(problem, right)
    _check_run(result, runs)
    if not seen:
        raise ValueError(f"{path} holds no problems: was the sampler stopped before its first one?")
    result.n, result.c = np.array(counts, dtype=np.int64).reshape(-1, 2).T.copy()
    return result


def _unsampled(problem: dict, failed: bool, said: list) -> tuple[str, dict]:
    """Why a problem has no samples, and what the file says of it."""
    about = {key: problem.get(key) for key in ("question", "answer", "image_id", "kind")}
    return str(problem["error"]) if failed else _NOTHING[bool(said)], about


def _decided(result: SampleSet, problem: dict, marks: list[bool | None]) -> tuple[dict, list[bool]]:
    """The problem with those samples alone whose mark is not None, and their marks; the others are counted."""
    right = [mark for mark in marks if mark is not None]
    result.undecided += len(marks) - len(right)
    if len(right) == len(marks):
        return problem, right
    lists = {key: values for key in PER_SAMPLE if isinstance(values := problem.get(key), list)}
    kept = {
        key: [value for value, mark in zip(values, marks, strict=True) if mark is not None]
        for key, values in lists.items()
        if len(values) == len(marks)
    }
    return {**problem, **kept}, right


def _keep(result: SampleSet, problem: dict, name: str) -> None:
    result.ids.append(name)
    chart = problem.get("image_id")
    result.clusters.append(f"chart {chart}" if chart else f"problem {name}")
    result.kinds.append(str(problem.get("kind") or ""))
    what = "\0".join(str(problem.get(key) or "") for key in ("question", "answer", "image_id"))
    result.digests.append(hashlib.sha256(f"{name}\0{what}".encode(errors="surrogatepass")).digest())
    texts = problem.get("samples")
    if isinstance(texts, list) and len(texts) > 1 and all(text == texts[0] for text in texts):
        result.identical += 1


def _settings_beside(path: Path) -> dict:
    sidecar = path.with_name(path.stem + ".settings.json")
    if not sidecar.is_file():
        return {}
    try:
        settings = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar} is not readable JSON ({error}): remove it or write it again") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{sidecar} must hold one JSON object of settings, found {type(settings).__name__}")
    return settings


def _problem_id(problem: dict, number: int, path: Path) -> str:
    name = problem.get("problem_id")
    if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
        raise ValueError(f"{path}: problem number {number} has no problem_id")
    return str(name)


def _check_repeat(name: str, number: int, path: Path, duplicates: str) -> None:
    if duplicates == "refuse":
        raise ValueError(
            f"{path}: problem {name} occurs more than once (again as number {number}); keep the first of each "
            "with --duplicates first"
        )


def _checked_marks(problem: dict, marks: str, name: str, path: Path) -> list[bool | None]:
    right = problem.get(marks)
    if not isinstance(right, list):
        others = [key for key in ("correct", "correct_strict") if isinstance(problem.get(key), list)]
        hint = f"; it has {others[0]}, choose it with --marks" if others else "; mark the answers with --rescore"
        raise ValueError(f"{path}: problem {name} has no list '{marks}' of marks" + hint)
    undecided = isinstance(problem.get("reason"), list)  # our sampler's null, which has its reason beside it
    strange = [mark for mark in right if not (mark is True or mark is False or (mark is None and undecided))]
    if strange:
        raise ValueError(
            f"{path}: problem {name} has {len(strange)} marks in '{marks}' that are not true or false, the first is "
            f"{strange[0]!r}"
        )
    for key in PER_SAMPLE:
        values = problem.get(key)
        if isinstance(values, list) and len(values) != len(right):
            raise ValueError(f"{path}: problem {name} has {len(right)} marks in '{marks}' but {len(values)} '{key}'")
    stored = {"num_total": len(right)} | ({"num_correct": sum(map(bool, right))} if marks == "correct" else {})
    for key, counted in stored.items():
        if problem.get(key, counted) != counted:
            raise ValueError(f"{path}: problem {name} says {key} = {problem[key]!r}, but its marks give {counted}")
    return right


def _check_run(result: SampleSet, runs: Counter) -> None:
    if len(runs) > 1:
        parts = ", ".join(f"{run or 'no run'} in {count} problems" for run, count in runs.most_common(3))
        raise ValueError(f"{result.path} is mixed from {len(runs)} runs ({parts}): score each run's own file")
    result.run = next(iter(runs), None)
    stated = result.settings.get("run")
    if result.run and stated and stated != result.run:
        raise ValueError(
            f"{result.path} is of run {result.run}, but the settings beside it are of run {stated}: put the two files "
            "of one run together"
        )


def settle(result: SampleSet, *, missing: str = "refuse", ragged: str = "refuse") -> list[str]:
    """Treat problems without samples and unequal numbers of samples as the two flags say; returns notes for the user.

    missing: "refuse", "skip" (leave such problems out of every k) or "wrong" (count them as never right).
    ragged: "refuse", "min" (k up to the smallest number of samples; every problem keeps all of its samples) or "drop"
    (leave out the problems that have fewer samples than the largest).
    """
    notes = _settle_missing(result, missing)
    if result.undecided:
        notes.append(f"{result.undecided:,} samples that could not be marked right or wrong are left out")
    if not len(result):
        raise ValueError(f"{result.path}: none of its {len(result.unsampled)} problems has samples")
    wanted = max(int(result.n.max()), _stated(result.settings, "sampling", "num_samples"))
    short = [i for i, count in enumerate(result.n) if count < wanted]
    if not short:
        return notes
    what = f"{len(short)} of {len(result)} problems have fewer than {wanted} samples"
    if ragged == "refuse":
        names = name_some([f"{result.ids[i]} ({result.n[i]})" for i in short])
        why = f" ({result.undecided:,} samples could not be marked)" if result.undecided else ""
        raise ValueError(
            f"{result.path}: {what}{why}: {names}; finish the sampling, or choose --ragged min (k up to the smallest) "
            "or --ragged drop (leave them out)"
        )
    if ragged == "min":
        return [*notes, f"{what}: k goes up to {result.n.min()}, with the same problems for every k"]
    result.keep([i for i in range(len(result)) if result.n[i] >= wanted])
    if not len(result):
        raise ValueError(f"{result.path}: no problem has {wanted} samples; choose --ragged min")
    return [*notes, f"{what}: they are left out of every k"]


def _settle_missing(result: SampleSet, missing: str) -> list[str]:
    announced = _stated(result.settings, "data", "num_questions")
    absent = max(0, announced - len(result) - len(result.unsampled))
    if not result.unsampled and not absent:
        return []
    parts = []
    if result.unsampled:
        named = name_some([f"{name} ({reason})" for name, reason, _ in result.unsampled])
        parts.append(f"{len(result.unsampled)} problems have no samples: {named}")
    if absent:
        parts.append(f"{absent} of the run's {announced} problems are not in the file")
    what = "; ".join(parts)
    if missing == "refuse":
        raise ValueError(
            f"{result.path}: {what}; finish the sampling, or choose --missing skip (leave them out of every k)"
            + ("" if absent else " or --missing wrong (count them as never right)")
        )
    if missing == "skip":
        return [f"{what}: left out of every k"]
    if absent:
        raise ValueError(f"{result.path}: {what}: --missing wrong needs them named in the file; choose --missing skip")
    size = int(result.n.max()) if len(result) else 0
    for name, _, problem in result.unsampled if size else []:
        _keep(result, problem, name)
        result.n, result.c = np.append(result.n, size), np.append(result.c, 0)
    return [f"{what}: counted as never right"]


def _stated(settings: dict, part: str, name: str) -> int:
    """A count that the sampler stated in its settings; 0 when it did not."""
    value = settings[part].get(name) if isinstance(settings.get(part), dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
