"""Pass@k of a samples file, with 95 % intervals, or the paired difference of two.

    python evaluation/pass_at_k.py --samples-path samples_nsr.json --output-path results_nsr.json --method-name NSR
    python evaluation/pass_at_k.py --compare results_nsr.json results_grpo.json

The estimator and its relatives are in estimators.py, the intervals in intervals.py, the reading in samples.py.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, check_output, exit_code, name_some
from common.files import write_whole
from common.terminal import printable, unfailing_output

EPILOG = """\
Reads our samples files (.json, .jsonl) and the results of human-eval, evalplus and RLVR-Decomposed.

metrics: avg@n, maj@k, pass^k, g-pass@k, distinct, shares (all right, none right), rates (well-formed, truncated,
tokens), kinds (Pass@k by kind of question, with the guessing floor of yes/no questions), all.

Intervals are percentile bootstrap intervals over problems; the questions of one chart are drawn together. Where all
charts agree, as when no problem is solved, the bound is exact and one-sided (evaluation/intervals.py). At k = n Pass@k
only asks whether any of the n samples is right: it says nothing of what further samples would bring."""


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(prog="pass_at_k.py", description=__doc__.split("\n")[0], epilog=EPILOG)
    add = parser.add_argument
    add("--samples-path", help="samples file to score")
    add("--output-path", help="results JSON to write (without it the table is only printed)")
    add("--method-name", help="name of the method in tables and plots (default: what the sampler stored)")
    add("--k-values", nargs="+", metavar="K", help="k to compute (default: 1, 2, 4, ... up to the samples a problem)")
    add(
        "--marks",
        choices=["correct", "correct_strict", "base"],
        default="correct",
        help="which marks count: by the data set's public rule, or the strict one where it has none (default), by our "
        "strict rule, or evalplus' base tests",
    )
    add("--rescore", metavar="RULE", help="mark the stored answers again with this rule of charts.answers")
    add("--metrics", nargs="+", default=[], metavar="NAME", help="further metrics, see below")
    add(
        "--missing",
        choices=["refuse", "skip", "wrong"],
        default="refuse",
        help="problems without samples: refuse (default), leave them out of every k, or count them as never right",
    )
    add(
        "--ragged",
        choices=["refuse", "min", "drop"],
        default="refuse",
        help="unequal numbers of samples: refuse (default), compute k up to the smallest number for all problems, or "
        "leave out the problems that have fewer than the others; the same problems serve every k",
    )
    add(
        "--duplicates",
        choices=["refuse", "first"],
        default="refuse",
        help="a problem that occurs twice: refuse (default) or keep its first occurrence",
    )
    add("--drop-large-k", action="store_true", help="leave out the k above the samples a problem instead of refusing")
    add("--compare", nargs=2, metavar=("A", "B"), help="two samples or results files: Pass@k of A minus that of B")
    add("--force", action="store_true", help="compare runs on different problem sets (the common problems) or settings")
    return parser.parse_args(argv)


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
    from evaluation.estimators import powers_of_two

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


def default_method(path: Path, settings: dict) -> str:
    """What the sampler stored, or the file's name without `samples_`."""
    from evaluation.results import METHODS, method_key

    name = str(settings.get("method") or path.stem.removeprefix("samples_"))
    return METHODS.get(method_key(name), name)


def load(path: str, args: Namespace, details=None):
    """The problems of one samples file, settled by the flags, and notes for the user about them."""
    from evaluation.results import find_file
    from evaluation.samples import read_samples, settle

    mark = None
    if args.rescore:
        from evaluation.rescore import marker

        mark = marker(args.rescore)
    samples = read_samples(
        find_file(path),
        marks=(args.rescore and f"rescored: {args.rescore}") or args.marks,
        duplicates=args.duplicates,
        mark=mark,
        visit=details.visit if details else None,
    )
    notes = settle(samples, missing=args.missing, ragged=args.ragged)
    if samples.repeated:
        notes.append(f"{samples.repeated} repeated problems are left out, the first of each is kept")
    if samples.identical == len(samples):
        notes.append("all samples of every problem are the same text: was the random stream reset for each sample?")
    return samples, notes


def table_lines(results: dict) -> list[str]:
    """The table that is printed: a line for every k, each followed by its interval."""
    lines = ["Pass@k Results:"]
    for k in results["k_values"]:
        low, high = results["intervals"][str(k)]
        lines.append(f"  Pass@{k}: {100 * results['pass_at_k'][str(k)]:.2f}%   [{100 * low:.1f}, {100 * high:.1f}]")
    return lines


def exact_line(ks: list[int], clusters: int) -> str:
    """What the brackets are at the k where resampling charts says nothing, see intervals.py."""
    from evaluation.intervals import LEVEL

    at = name_some([f"@{k}" for k in ks], 12)
    unseen = 1.0 - (1.0 - LEVEL) ** (1.0 / clusters)
    return (
        f"{at}: all {clusters} charts or texts agree: exact bounds, one-sided at 0 and 100 % (Clopper-Pearson: up to "
        f"{unseen:.1%} of charts may differ)."
    )


def score(args: Namespace) -> int:
    from evaluation.metrics import Details, check_metrics, compute, lines
    from evaluation.results import build, contradicts, to_text

    ks = parse_ks(args.k_values)
    names = check_metrics(args.metrics)
    output = check_output(args.output_path, [Path(args.samples_path)]) if args.output_path else None
    details = Details() if names else None
    samples, notes = load(args.samples_path, args, details)
    method = printable(args.method_name or default_method(samples.path, samples.settings))
    stored = str(samples.settings.get("method") or "")
    if contradicts(method, stored):
        raise ValueError(f"--method-name {method} contradicts {samples.path}, which was sampled from {stored!r}")
    ks = fit_ks(ks, int(samples.n.min()), args.drop_large_k)
    results = build(samples, ks, method)
    absent = []
    if details:
        problems = results.pop("problems")
        results["metrics"], absent = compute(samples, details, names, ks)
        results["problems"] = problems
        if absent and "all" not in args.metrics:
            raise ValueError(f"{samples.path} holds no data for --metrics {absent[0]}")
    print("\n".join(table_lines(results)))
    told = results["metadata"]["intervals"]
    print(
        f"{method}: {len(samples)} problems on {told['clusters']} charts or texts, "
        f"{results['metadata']['samples_per_problem']} samples each; in brackets {100 * told['level']:.0f} % intervals."
    )
    print(printable(f"marked by: {results['metadata']['marked_by'] or 'the file, which does not name a rule'}"))
    if told["exact_at"]:
        print(exact_line(told["exact_at"], told["clusters"]))
    if ks[-1] == samples.n.min() and ks[-1] > 1:
        print(f"Pass@{ks[-1]} uses all samples: it is the share of problems with any right one.")
    if details:
        print("\n".join(["Metrics:", *map(printable, lines(results["metrics"], ks))]))
        notes += [f"the file holds no data for {name_some(absent, 9)}"] * bool(absent)
    for note in notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    if output:
        write_whole(output, to_text(results))
        print(printable(f"✓ Results saved to {output}"))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code(run, parse_args(argv))


def run(args: Namespace) -> int:
    if args.compare and args.samples_path:
        raise ValueError("--compare takes its two files itself: leave out --samples-path")
    if args.compare:
        from evaluation.compare import compare

        return compare(args)
    if not args.samples_path:
        raise ValueError("--samples-path is needed (or --compare with two files)")
    return score(args)


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
