"""The results file: what pass_at_k.py writes and plotting.py and --compare read; and when two of them may be compared.

{"pass_at_k": {"1": 0.6514, ...}, "k_values": [1, ...], "intervals": {"1": [low, high], ...},
 "metadata": {"method", "num_problems", "samples_per_problem", "marks", "problem_set", "sampling", ...},
 "metrics": {...},
 "problems": {"ids": [...], "n": [...], "c": [...], "clusters": [...]}}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.commands import name_some
from evaluation.estimators import pass_at_k
from evaluation.intervals import LEVEL, RESAMPLES, SEED, bootstrap_intervals, charts_agree
from evaluation.names import method_key
from evaluation.samples import SampleSet

KEPT_SETTINGS = ("sampling", "data", "asked", "prompt", "image", "model", "checkpoint", "without_image", "server")
SAME_SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens")


def find_file(path: str | Path) -> Path:
    """`path`, or the one file beside it whose name differs in punctuation and case only (w_reinforce, w-reinforce)."""
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    stem, beside = method_key(path.stem), path.parent.iterdir() if path.parent.is_dir() else ()
    near = [file for file in beside if file.suffix == path.suffix and method_key(file.stem) == stem and file.is_file()]
    if not near:
        raise ValueError(f"{path} does not exist")
    if len(near) > 1:
        raise ValueError(f"{path} does not exist, and {name_some(sorted(map(str, near)))} are named like it: name one")
    return near[0]


@dataclass
class Results:
    """One method's results: the curve and, per problem, what paired comparisons need."""

    path: Path
    k_values: list[int]
    pass_at_k: dict[int, float]
    intervals: dict[int, tuple[float, float]]
    metadata: dict
    ids: list[str]
    n: np.ndarray
    c: np.ndarray
    clusters: list[str]

    def part(self, name: str) -> dict:
        """A group of the metadata (sampling, data, ...), {} when it is absent."""
        value = self.metadata.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def method(self) -> str:
        return str(self.metadata.get("method") or self.path.stem)

    @property
    def without_image(self) -> str | None:
        """How the image was kept from the model (mask, remove), None where it was not."""
        return str(self.metadata.get("without_image") or "") or None


def build(samples: SampleSet, ks: list[int], method: str) -> dict:
    """The content of a results file for these problems and k."""
    table = pass_at_k(samples.n, samples.c, ks)
    bounds = bootstrap_intervals(table, samples.clusters, within=(0.0, 1.0))
    alike = charts_agree(table, samples.clusters)
    intervals = {
        "level": LEVEL,
        "how": "percentile bootstrap over problems, clustered by chart",
        "clusters": len(set(samples.clusters)),
        "resamples": RESAMPLES,
        "seed": SEED,
        "exact_at": [k for k, same in zip(ks, alike, strict=True) if same],  # all charts agree: see intervals.py
    }
    n, c = samples.n.tolist(), samples.c.tolist()
    problems = {"ids": samples.ids, "n": n, "c": c, "clusters": samples.clusters}
    means = np.array([column.mean() for column in table.T])  # each by itself: the bits of a sum depend on its order
    curve = {"pass_at_k": by_k(ks, means), "k_values": list(ks), "intervals": by_k(ks, bounds)}
    return {**curve, "metadata": _metadata(samples, method) | {"intervals": intervals}, "problems": problems}


def _metadata(samples: SampleSet, method: str) -> dict:
    """What a results file says of the samples that it is made of."""
    settings = samples.settings
    return {
        "method": method,
        "num_problems": len(samples),
        "samples_per_problem": int(samples.n.min()),
        "marks": samples.marks,
        "marked_by": samples.marked_by(),
        "problem_set": samples.fingerprint(),
        **{key: settings[key] for key in KEPT_SETTINGS if key in settings},
        "sampled_as": settings.get("method"),
        "run": samples.run or settings.get("run"),
        "samples_file": samples.path.name,
    }


def to_text(value, indent: str = "") -> str:
    """JSON with objects spread over lines and every list on one line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    parts = [
        f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {to_text(part, inner)}" for key, part in value.items()
    ]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}" + ("" if indent else "\n")


def read_results(path: str | Path) -> Results:
    """Read and check one results file."""
    path = find_file(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}): compute it again with pass_at_k.py") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("pass_at_k"), dict) or not raw["pass_at_k"]:
        raise ValueError(f"{path} is not a results file (no pass_at_k table): write one with pass_at_k.py")
    try:
        results = _parsed(path, raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged results file ({error!r}): compute it again") from None
    n, c = results.n, results.c
    if n.ndim != 1 or c.ndim != 1 or not len(results.ids) == len(n) == len(c) == len(results.clusters):
        raise ValueError(f"{path} is a damaged results file (problem lists of unequal length): compute it again")
    return results


def _parsed(path: Path, raw: dict) -> Results:
    values = {int(k): float(value) for k, value in raw["pass_at_k"].items()}
    intervals = {int(k): (float(low), float(high)) for k, (low, high) in (raw.get("intervals") or {}).items()}
    problems = raw.get("problems") or {"ids": [], "n": [], "c": [], "clusters": []}
    n, c = (np.array(problems[name], dtype=np.int64) for name in ("n", "c"))
    ids, clusters = (list(map(str, problems[name])) for name in ("ids", "clusters"))
    metadata = raw.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return Results(path, sorted(values), values, intervals, known, ids, n, c, clusters)


def as_results(samples: SampleSet, ks: list[int], method: str) -> Results:
    """The same in memory, without a file between."""
    return _parsed(samples.path, build(samples, ks, method))


def differences(a: Results, b: Results) -> list[str]:
    """Why the curves of `a` and `b` are not of one experiment: problem set, marks, samples, sampling, prompt, image."""

    def facts(results: Results) -> dict:
        meta = results.metadata
        sampling = results.part("sampling")
        names = ("problem_set", "num_problems", "marks", "marked_by", "samples_per_problem")
        known = {name: meta.get(name) for name in names}
        known |= {name: sampling.get(name) for name in SAME_SETTINGS}
        prompt, image = meta.get("prompt"), meta.get("image")
        known["prompt"] = prompt.get("hash") if isinstance(prompt, dict) else prompt
        known["image limits"] = json.dumps(image, sort_keys=True) if image else None
        return known

    mine, other = facts(a), facts(b)
    pairs = [(name.replace("_", " "), mine[name], other[name]) for name in mine]
    apart = [(name, x, y) for name, x, y in pairs if x is not None and y is not None and x != y]
    return [
        name if name == "problem set" else f"{name.replace('num ', 'number of ')} {x} and {y}" for name, x, y in apart
    ]


def common_rows(*results: Results) -> list[list[int]]:
    """For each of them the places of the problems that all hold, in the order of the first."""
    places = [{name: i for i, name in enumerate(one.ids)} for one in results]
    names = [name for name in results[0].ids if all(name in own for own in places)]
    return [[own[name] for name in names] for own in places]


def common_tables(results: Sequence[Results], ks: list[int]) -> tuple[list[np.ndarray], list[str]]:
    """Pass@k (P, K) of each on the problems that all hold, and the charts of these."""
    rows = common_rows(*results)
    if not rows[0]:
        raise ValueError(f"{' and '.join(str(one.path) for one in results)} have no problem in common")
    tables = [pass_at_k(one.n[own], one.c[own], ks) for one, own in zip(results, rows, strict=True)]
    return tables, [results[0].clusters[i] for i in rows[0]]


def paired_difference(a: Results, b: Results, ks: list[int]) -> tuple[np.ndarray, np.ndarray]:  # (K,), (K, 2)
    """Pass@k of `a` minus that of `b` over their common problems, and its interval from the problems' differences."""
    if not common_rows(a, b)[0]:
        raise ValueError(f"{a.path} and {b.path} have no problem in common (or hold no per-problem counts)")
    (of_a, of_b), clusters = common_tables([a, b], ks)
    return (of_a - of_b).mean(axis=0), bootstrap_intervals(of_a - of_b, clusters, within=(-1.0, 1.0))


def by_k(ks: list[int], values: np.ndarray) -> dict[str, object]:
    """A row of `values` (K, ...) for each k, as JSON has it; None for one that is no number."""
    return {str(k): None if np.isnan(one).any() else one.tolist() for k, one in zip(ks, values, strict=True)}
