"""The results file: what pass_at_k.py writes and plotting.py and --compare read; and when two of them may be compared.

{"pass_at_k": {"1": 0.6514, ...}, "k_values": [1, ...], "intervals": {"1": [low, high], ...},
 "metadata": {"method", "num_problems", "samples_per_problem", "marks", "problem_set", "sampling", ...},
 "metrics": {...},
 "problems": {"ids": [...], "n": [...], "c": [...], "clusters": [...]}}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.commands import name_some
from evaluation.estimators import pass_at_k
from evaluation.intervals import LEVEL, RESAMPLES, SEED, bootstrap_intervals, charts_agree
from evaluation.names import method_key
from evaluation.samples import SampleSet

SAME_SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens")


def find_file(path: str | Path) -> Path:
    """`path`, or the one file beside it whose name differs in punctuation and case only (w_reinforce, w-reinforce)."""
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    near = []
    if path.parent.is_dir():
        near = [
            file
            for file in path.parent.iterdir()
            if file.suffix == path.suffix and method_key(file.stem) == method_key(path.stem) and file.is_file()
        ]
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


def build(samples: SampleSet, ks: list[int], method: str, *, resamples: int = RESAMPLES, seed: int = SEED) -> dict:
    """The content of a results file for these problems and k."""
    table = pass_at_k(samples.n, samples.c, ks)
    bounds = bootstrap_intervals(table, samples.clusters, resamples=resamples, seed=seed, within=(0.0, 1.0))
    alike = charts_agree(table, samples.clusters)
    intervals = {
        "level": LEVEL,
        "how": "percentile bootstrap over problems, clustered by chart",
        "clusters": len(set(samples.clusters)),
        "resamples": resamples,
        "seed": seed,
        "exact_at": [k for k, same in zip(ks, alike, strict=True) if same],  # all charts agree: see intervals.py
    }
    return {
        "pass_at_k": {str(k): float(table[:, i].mean()) for i, k in enumerate(ks)},
        "k_values": list(ks),
        "intervals": {str(k): [float(bound) for bound in bounds[i]] for i, k in enumerate(ks)},
        "metadata": _metadata(samples, method) | {"intervals": intervals},
        "problems": {
            "ids": samples.ids,
            "n": samples.n.tolist(),
            "c": samples.c.tolist(),
            "clusters": samples.clusters,
        },
    }


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
        **{
            key: settings[key]
            for key in ("sampling", "data", "prompt", "image", "model", "checkpoint", "without_image")
            if key in settings
        },
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
        values = {int(k): float(value) for k, value in raw["pass_at_k"].items()}
        intervals = {int(k): (float(low), float(high)) for k, (low, high) in (raw.get("intervals") or {}).items()}
        problems = raw.get("problems") or {"ids": [], "n": [], "c": [], "clusters": []}
        n, c = (np.array(problems[name], dtype=np.int64) for name in ("n", "c"))
        ids, clusters = list(map(str, problems["ids"])), list(map(str, problems["clusters"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged results file ({error!r}): compute it again") from None
    if n.ndim != 1 or c.ndim != 1 or not len(ids) == len(n) == len(c) == len(clusters):
        raise ValueError(f"{path} is a damaged results file (problem lists of unequal length): compute it again")
    metadata = raw.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return Results(path, sorted(values), values, intervals, known, ids, n, c, clusters)


def as_results(samples: SampleSet, ks: list[int], method: str) -> Results:
    """The same in memory, without a file between."""
    raw = build(samples, ks, method)
    intervals = {int(k): tuple(bounds) for k, bounds in raw["intervals"].items()}
    values = {int(k): value for k, value in raw["pass_at_k"].items()}
    return Results(
        samples.path, ks, values, intervals, raw["metadata"], samples.ids, samples.n, samples.c, samples.clusters
    )


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


def common_rows(a: Results, b: Results) -> tuple[list[int], list[int]]:
    """Places in `a` and in `b` of the problems that both hold, in the order of `a`."""
    place = {name: i for i, name in enumerate(b.ids)}
    rows = [(i, place[name]) for i, name in enumerate(a.ids) if name in place]
    return [i for i, _ in rows], [j for _, j in rows]


def paired_difference(a: Results, b: Results, ks: list[int]) -> tuple[np.ndarray, np.ndarray]:  # (K,), (K, 2)
    """Pass@k of `a` minus that of `b` over their common problems, and its interval from the problems' differences."""
    rows_a, rows_b = common_rows(a, b)
    if not rows_a:
        raise ValueError(f"{a.path} and {b.path} have no problem in common (or hold no per-problem counts)")
    table = pass_at_k(a.n[rows_a], a.c[rows_a], ks) - pass_at_k(b.n[rows_b], b.c[rows_b], ks)
    return table.mean(axis=0), bootstrap_intervals(table, [a.clusters[i] for i in rows_a], within=(-1.0, 1.0))
