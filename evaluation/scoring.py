"""A samples file -> its results and the table that is printed, as the flags of pass_at_k.py say."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from common.commands import name_some
from common.files import check_output, write_whole
from common.terminal import printable
from evaluation.estimators import powers_of_two
from evaluation.intervals import LEVEL
from evaluation.metrics import Details, check_metrics, compute, lines
from evaluation.names import contradicts, default_method
from evaluation.rescore import marker
from evaluation.results import build, find_file, to_text
from evaluation.samples import SampleSet, read_samples, settle


def parse_ks(values: Sequence[str] | None) -> list[int] | None:
    """The k asked for, ascending: separate words or a list with commas; None when none was asked for."""
    if values is None:
        return None
    words = [word for value in values for word in str(value).split(",") if word]
    bad = [word for word in words if not word.isascii() or not word.isdigit() or int(word) < 1]
    if bad or not words:
        raise ValueError(f"--k-values must be whole numbers from 1 up, got {bad[0] if bad else 'none'!r}")
    return sorted({int(word) for word in words})


def fit_ks(ks: list[int] | None, smallest: int, drop_large: bool) -> list[int]:
    """The k that every problem has samples for; ValueError when one is too large."""
    if ks is None:
        return powers_of_two(smallest)
    large = [k for k in ks if k > smallest]
    if large and not drop_large:
        raise ValueError(
            f"--k-values: {name_some(list(map(str, large)))} is more than the {smallest} samples a problem has; "
            "sample more, or leave such k out with --drop-large-k"
        )
    if len(large) == len(ks):
        raise ValueError(f"--k-values: every k is above the {smallest} samples a problem has")
    return [k for k in ks if k <= smallest]


def load(path: str, args: Namespace, details: Details | None = None) -> tuple[SampleSet, list[str]]:
    """The problems of one samples file, settled by the flags, and notes for the user about them."""
    samples = read_samples(
        find_file(path),
        marks=(args.rescore and f"rescored: {args.rescore}") or args.marks,
        duplicates=args.duplicates,
        mark=marker(args.rescore) if args.rescore else None,
        visit=details.visit if details else None,
    )
    notes = settle(samples, missing=args.missing, ragged=args.ragged)
    if samples.repeated:
        notes.append(f"{samples.repeated} repeated problems are left out, the first of each is kept")
    if samples.identical == len(samples):
        notes.append("all samples of every problem are the same text: was the random stream reset for each sample?")
    return samples, notes


def exact_line(ks: list[int], clusters: int) -> str:
    """What the brackets are at the k where resampling charts says nothing, see intervals.py."""
    at = name_some([f"@{k}" for k in ks], 12)
    unseen = 1.0 - (1.0 - LEVEL) ** (1.0 / clusters)
    return (
        f"{at}: all {clusters} charts or texts agree: exact bounds, one-sided at 0 and 100 % (Clopper-Pearson: up to "
        f"{unseen:.1%} of charts may differ)."
    )


def score(args: Namespace) -> int:
    """Prints the table of --samples-path and writes --output-path; the exit code."""
    ks = parse_ks(args.k_values)
    names = check_metrics(args.metrics)
    output = check_output(args.output_path, [find_file(args.samples_path)]) if args.output_path else None
    details = Details() if names else None
    samples, notes = load(args.samples_path, args, details)
    method = printable(args.method_name or default_method(samples.path, samples.settings))
    stored = str(samples.settings.get("method") or "")
    if contradicts(method, stored):
        raise ValueError(f"--method-name {method} contradicts {samples.path}, which was sampled from {stored!r}")
    ks = fit_ks(ks, int(samples.n.min()), args.drop_large_k)
    results = build(samples, ks, method)
    if details:
        problems = results.pop("problems")
        results["metrics"], absent = compute(samples, details, names, ks)
        results["problems"] = problems
        if absent and "all" not in args.metrics:
            raise ValueError(f"{samples.path} holds no data for --metrics {absent[0]}")
        notes += [f"the file holds no data for {name_some(absent, 9)}"] * bool(absent)
    print("\n".join(result_lines(results)))
    for note in notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    if output:
        write_whole(output, to_text(results))
        print(printable(f"✓ Results saved to {output}"))
    return 0


def result_lines(results: dict) -> list[str]:
    """What is printed of a results file: its table, what that says, its metrics."""
    meta, ks = results["metadata"], results["k_values"]
    how, text = meta["intervals"], ["Pass@k Results:"]
    for k in ks:
        low, high = results["intervals"][str(k)]
        text.append(f"  Pass@{k}: {100 * results['pass_at_k'][str(k)]:.2f}%   [{100 * low:.1f}, {100 * high:.1f}]")
    text += [
        f"{meta['method']}: {meta['num_problems']} problems on {how['clusters']} charts or texts, "
        f"{meta['samples_per_problem']} samples each; in brackets {100 * how['level']:.0f} % intervals.",
        printable(f"marked by: {meta['marked_by'] or 'the file, which does not name a rule'}"),
    ]
    if meta.get("without_image"):
        text.append(
            printable(f"asked without the image (--without-image {meta['without_image']}): what can be guessed.")
        )
    text += [exact_line(how["exact_at"], how["clusters"])] if how["exact_at"] else []
    if ks[-1] == meta["samples_per_problem"] and ks[-1] > 1:
        text.append(f"Pass@{ks[-1]} uses all samples: it is the share of problems with any right one.")
    if "metrics" in results:
        text += ["Metrics:", *map(printable, lines(results["metrics"], ks))]
    return text
