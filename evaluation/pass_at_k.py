"""Pass@k of a samples file, with 95 % intervals, or the paired difference of two.

    python evaluation/pass_at_k.py --samples-path samples_nsr.json --output-path results_nsr.json --method-name NSR
    python evaluation/pass_at_k.py --samples-path samples_chartqa.json samples_figureqa.json
    python evaluation/pass_at_k.py --compare results_nsr.json results_grpo.json
    python evaluation/pass_at_k.py --compare results_nsr.json --blind samples_nsr_blind.json

The estimator and its relatives are in estimators.py, the intervals in intervals.py, the reading in samples.py,
the table in scoring.py.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, program
from common.terminal import unfailing_output

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
    # fmt: off
    add("--samples-path", nargs="+", metavar="FILE", help="samples file to score; of several, one table")
    add("--output-path", help="results JSON to write (without it the table is only printed)")
    add("--method-name", help="name of the method in tables and plots (default: what the sampler stored)")
    add("--k-values", nargs="+", metavar="K", help="k to compute (default: 1, 2, 4, ... up to the samples a problem)")
    add("--marks", choices=["correct", "correct_strict", "base"], default="correct",
        help="which marks count: by the data set's public rule, or the strict one where it has none (default), by our "
        "strict rule, or evalplus' base tests")
    add("--rescore", metavar="RULE", help="mark the stored answers again with this rule of charts.answers")
    add("--metrics", nargs="+", default=[], metavar="NAME", help="further metrics, see below")
    add("--missing", choices=["refuse", "skip", "wrong"], default="refuse",
        help="problems without samples: refuse (default), leave them out of every k, or count them as never right")
    add("--ragged", choices=["refuse", "min", "drop"], default="refuse",
        help="unequal numbers of samples: refuse (default), compute k up to the smallest number for all problems, or "
        "leave out the problems that have fewer than the others; the same problems serve every k")
    add("--duplicates", choices=["refuse", "first"], default="refuse",
        help="a problem that occurs twice: refuse (default) or keep its first occurrence")
    add("--drop-large-k", action="store_true", help="leave out the k above the samples a problem instead of refusing")
    add("--compare", nargs="+", metavar="FILE", help="two samples or results files: the first minus the second")
    add("--blind", nargs="+", default=[], metavar="FILE",
        help="with --compare: the same models' samples --without-image, in the same order: how much of the accuracy "
        "survives, and how much of the difference needs the image; with one file after --compare, of that one model")
    add("--force", action="store_true", help="compare runs on different problem sets (the common problems) or settings")
    # fmt: on
    return parser.parse_args(argv)


def _check_files(args: Namespace) -> None:
    files, blind = len(args.compare), len(args.blind)
    if files > 2 or (files == 1 and not blind):
        raise ValueError(f"--compare takes two files, or one together with --blind; there are {files}")
    if blind and blind != files:
        raise ValueError(
            f"--blind takes a file for each after --compare, in their order; there are {blind} for {files}"
        )


def run(args: Namespace) -> int:
    if args.compare and args.samples_path:
        raise ValueError("--compare takes its two files itself: leave out --samples-path")
    if args.blind and not args.compare:
        raise ValueError("--blind goes with --compare, which names what the same models say with the image")
    if args.compare:
        _check_files(args)
        from evaluation.compare import compare

        return compare(args)
    if not args.samples_path:
        raise ValueError("--samples-path is needed (or --compare with two files)")
    if len(args.samples_path) > 1:
        from evaluation.several import score_several

        return score_several(args)
    from evaluation.scoring import score

    return score(Namespace(**{**vars(args), "samples_path": args.samples_path[0]}))


main = program(parse_args, run)

if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
