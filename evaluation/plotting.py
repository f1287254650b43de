"""Pass@k curves of several methods in one picture, or the curves of their training.

    python evaluation/plotting.py --results results_grpo.json results_nsr.json --labels GRPO NSR \\
        --baseline GRPO --output comparison_pass_at_k.png
    python evaluation/plotting.py --training grpo-start-ckpts/* --output training.png

The numbers are written beside the picture as CSV.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, name_some, program
from common.files import check_output, write_whole
from common.terminal import printable, unfailing_output

SUFFIXES = (".png", ".svg", ".pdf")
CSV_HEADS = (b"label,method,", b"label,mode,")  # of the numbers beside a picture


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(
        prog="plotting.py", description="Pass@k curves of several methods, or the curves of their training."
    )
    add = parser.add_argument
    add(
        "--results", nargs="+", metavar="JSON", help="results files of pass_at_k.py; either spelling of a name is found"
    )
    add("--training", nargs="+", metavar="FOLDER", help="output folders of training runs (or trainer_state.json files)")
    add("--labels", nargs="+", help="one per file, in their order (default: the methods stored in them)")
    add("--output", required=True, help=f"picture to write: {', '.join(SUFFIXES)}")
    add("--baseline", metavar="LABEL", help="add a panel with the paired difference to this curve")
    add("--k-values", nargs="+", metavar="K", help="k to draw (default: all in the files)")
    add("--title", help="title above the picture")
    add("--force", action="store_true", help="draw runs on different problem sets or settings; the picture says so")
    return parser.parse_args(argv)


def draw_results(args: Namespace) -> tuple:
    """The Pass@k figure and its CSV."""
    from evaluation import curves
    from evaluation.names import checked_labels
    from evaluation.results import differences, read_results
    from evaluation.scoring import parse_ks

    results = [read_results(path) for path in args.results]
    labels = checked_labels(args.labels, [one.method for one in results], [one.path for one in results])
    if args.baseline is not None and args.baseline not in labels:
        raise ValueError(f"--baseline: {args.baseline!r} is none of the labels {', '.join(labels)}")
    if args.baseline is not None and len(results) == 1:
        raise ValueError("--baseline needs a second curve to compare with")
    ks = parse_ks(args.k_values)
    for one in results:
        lacking = [str(k) for k in ks or [] if k not in one.pass_at_k]
        if lacking:
            held = ", ".join(map(str, one.k_values))
            raise ValueError(f"--k-values: {one.path} holds no Pass@{name_some(lacking)}, only k = {held}")
        if not one.metadata.get("problem_set"):
            note = f"note: {one.path} does not say which problems it is on: that is not checked"
            print(printable(note), file=sys.stderr)
    apart = list(dict.fromkeys(reason for one in results[1:] for reason in differences(results[0], one)))
    if apart and not args.force:
        raise ValueError(
            f"the runs differ in {'; '.join(apart)}: such curves do not belong in one picture "
            "(--force draws them and says so on it)"
        )
    figure = curves.draw_curves(results, labels, ks=ks, baseline=args.baseline, warnings=apart, title=args.title)
    return figure, curves.as_csv(results, labels, ks, args.baseline)


def draw_runs(args: Namespace) -> tuple:
    """The training figure and its CSV."""
    from evaluation import training_curves
    from evaluation.names import checked_labels

    unused = [f"--{name}" for name in ("baseline", "k_values", "force") if getattr(args, name)]
    if unused:
        raise ValueError(f"{unused[0].replace('_', '-')} belongs to --results, not to --training")
    runs = [training_curves.read_run(path) for path in args.training]
    labels = checked_labels(args.labels, [run.method for run in runs], [run.path for run in runs])
    return training_curves.draw_training(runs, labels, args.title), training_curves.as_csv(runs, labels)


def run(args: Namespace) -> int:
    from evaluation.rendering import picture

    if bool(args.results) == bool(args.training):
        raise ValueError("give either --results or --training")
    output = check_output(args.output, [Path(path) for path in args.results or []])
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"--output: {output.name} must end in {', '.join(SUFFIXES)}")
    numbers = output.with_suffix(".csv")
    if numbers.is_file() and not numbers.read_bytes().startswith(CSV_HEADS):
        raise ValueError(f"--output: {numbers} exists and is no file of curves; name another picture, or move it away")
    figure, table = draw_runs(args) if args.training else draw_results(args)
    write_whole(output, picture(figure, suffix))
    write_whole(numbers, table)
    print(printable(f"✓ Plot saved to {output}, its numbers to {numbers}"))
    return 0


main = program(parse_args, run)

if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
