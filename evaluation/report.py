"""Samples files -> one self-contained HTML page: the Pass@k picture and a gallery of problems with their answers.

python evaluation/report.py samples_base.json samples_grpo.json samples_nsr.json --output-path report.html
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, check_least, program
from common.files import check_output, write_whole
from common.terminal import printable, unfailing_output


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(prog="report.py", description="A page with the Pass@k picture and all problems with their answers.")
    add = parser.add_argument
    add("samples", nargs="+", metavar="SAMPLES", help="samples files, one per method (*.settings.json are passed over)")
    add("--output-path", default="report.html", help="page to write (default: report.html)")
    add("--labels", nargs="+", help="one per file, in their order (default: the methods stored in them)")
    add(
        "--marks", choices=["correct", "correct_strict"], default="correct", help="which marks count (default: correct)"
    )
    add("--title", default="Pass@k report", help="title of the page")
    add("--completions", type=int, default=6, metavar="N", help="full completions kept per problem and method (6)")
    add("--image-size", type=int, default=480, metavar="PIXELS", help="longest side of an embedded picture (480)")
    add("--force", action="store_true", help="show runs on different problem sets or settings; the page says so")
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    from evaluation.report_page import page
    from evaluation.results import find_file

    paths = [find_file(path) for path in args.samples if not path.endswith(".settings.json")]
    if not paths:
        raise ValueError("no samples file among the arguments (only *.settings.json)")
    check_least(args, completions=0, image_size=16)
    output = check_output(args.output_path, paths)
    text = page(args, paths)
    write_whole(output, text)
    print(printable(f"✓ Report saved to {output} ({len(text) / 1e6:.1f} MB)"))
    return 0


main = program(parse_args, run)


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
