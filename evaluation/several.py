"""Several evaluation sets in one table: a row a samples file, the k that all of them have, and the mean over sets."""

from __future__ import annotations

import sys
from argparse import Namespace

import numpy as np

from common.terminal import printable
from evaluation.estimators import powers_of_two
from evaluation.names import default_method
from evaluation.results import Results, as_results
from evaluation.scoring import fit_ks, load, parse_ks

MOST_COLUMNS = 5  # k shown where none are asked for


def score_several(args: Namespace) -> int:
    """Prints the table of the files of --samples-path; the exit code."""
    for flag, value in (("--output-path", args.output_path), ("--method-name", args.method_name)):
        if value:
            raise ValueError(f"{flag} {value} goes with one file of --samples-path; score the files one by one for it")
    if args.metrics:
        raise ValueError("--metrics goes with one file of --samples-path; score the files one by one for it")
    loaded = [load(path, args) for path in args.samples_path]
    smallest = min(int(samples.n.min()) for samples, _ in loaded)
    ks = fit_ks(parse_ks(args.k_values), smallest, args.drop_large_k)
    if args.k_values is None and len(ks) > MOST_COLUMNS:
        ks = [k for k in powers_of_two(smallest) if k.bit_length() % 2]  # 1, 4, 16, ...
    rows = [as_results(samples, ks, default_method(samples.path, samples.settings)) for samples, _ in loaded]
    print("\n".join(map(printable, table(rows))))
    for result, (_, notes) in zip(rows, loaded, strict=True):
        for note in notes:
            print(printable(f"note: {result.path.name}: {note}"), file=sys.stderr)
    return 0


def table(rows: list[Results]) -> list[str]:
    """The lines: Pass@k in per cent with its interval, a row a file; below, the mean of each method over its sets."""
    ks = rows[0].k_values
    head = ["data set", "method", "problems", *(f"Pass@{k}" for k in ks), "marked by"]
    body = [
        [
            set_name(row),
            row.method,
            str(len(row.ids)),
            *(f"{100 * row.pass_at_k[k]:.1f} [{' - '.join(f'{100 * x:.1f}' for x in row.intervals[k])}]" for k in ks),
            str(row.metadata.get("marked_by") or "the file"),
        ]
        for row in rows
    ]
    body += _means(rows, ks)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    ]


def set_name(row: Results) -> str:
    """The data set and split that the samples are of; the file's name where it does not say."""
    data = row.part("data")
    name, split = data.get("name"), data.get("split")
    return f"{name}@{split}" if name and split else str(name or row.path.stem)


def _means(rows: list[Results], ks: list[int]) -> list[list[str]]:
    """Of every method that has several sets, if the methods have the same ones: each set counts alike."""
    sets = {method: [set_name(row) for row in rows if row.method == method] for method in (row.method for row in rows)}
    names = {tuple(sorted(each)) for each in sets.values()}
    if len(names) > 1 or any(len(set(each)) < max(2, len(each)) for each in sets.values()):
        return []
    return [
        [
            f"mean of {len(each)} sets",
            method,
            "",
            *(f"{100 * np.mean([row.pass_at_k[k] for row in rows if row.method == method]):.1f}" for k in ks),
            "",
        ]
        for method, each in sets.items()
    ]
