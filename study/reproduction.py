"""Rebuilds the tables and pictures of docs/reproduction.md from the kept counts; --print shows those of any counts.

    python -m study.reproduction                               writes docs/reproduction.md and its pictures anew
    python -m study.reproduction --print --counts FOLDER       prints the tables of another run of the study

In the document a table stands between `<!-- table NAME -->` and `<!-- end -->`; the text around is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.commands import Parser, exit_code
from common.files import write_whole
from common.terminal import unfailing_output
from study import ablation_tables, figures, tables
from study.plan import FULL, QUICK, Size

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reproduction.md"
COUNTS = ROOT / "docs" / "reproduction" / "counts"
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "Not run yet."

TABLES: dict[str, Callable[[Path, Size], str | None]] = {
    "learning-rates": tables.learning_rates,
    "pass-at-k": lambda counts, size: tables.curve_table(tables.final_arms(counts, size)),
    "differences": lambda counts, size: tables.differences(tables.final_arms(counts, size)),
    "by-seed": lambda counts, size: tables.by_seed(tables.final_arms(counts, size)),
    "kinds": lambda counts, size: tables.kinds(tables.final_arms(counts, size)),
    "completions": lambda counts, size: tables.texts(tables.final_arms(counts, size)),
    "paper-sampling": lambda counts, size: tables.curve_table(tables.paper_arms(counts, size)),
    "paper-sampling-differences": lambda counts, size: tables.differences(tables.paper_arms(counts, size)),
    "factors": ablation_tables.factor_table,
    "factors-training": ablation_tables.factor_training,
    "lost-kinds": ablation_tables.lost_kinds,
    "ten-times-the-updates": ablation_tables.long_table,
    "lambda": lambda counts, size: ablation_tables.lambda_table(counts.parent / "lambda_counts"),
    "quick": lambda counts, size: tables.curve_table(tables.final_arms(counts.parent / "quick_counts", QUICK)),
    "quick-differences": lambda counts, size: tables.differences(
        tables.final_arms(counts.parent / "quick_counts", QUICK)
    ),
}


def rebuilt(document: str, counts: Path, size: Size = FULL) -> str:
    """The document with every table computed anew. ValueError for a block that no table is for."""

    def replace(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise ValueError(f"there is no table {match[2]}; known are {', '.join(TABLES)}")
        return f"{match[1]}\n{TABLES[match[2]](counts, size) or NOT_RUN}\n\n{match[3]}"

    return BLOCK.sub(replace, document)


def pictures(counts: Path, size: Size = FULL) -> dict[str, str]:
    """File name -> SVG, those for which something is kept."""
    found = tables.final_arms(counts, size)
    if len(found) < 2:
        return {}
    drawn = {"pass_at_k.svg": figures.pass_at_k_figure(found), "training.svg": figures.training_figure(found)}
    return {name: figures.as_svg(figure) for name, figure in drawn.items()}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--counts", type=Path, default=COUNTS, help="folder of kept counts; one of your own with --print"
    )
    parser.add_argument("--print", action="store_true", help="print the tables, write nothing")
    parser.add_argument("--quick", action="store_true", help="the counts are of reproduce_tiny.sh --quick")
    args = parser.parse_args(argv)
    if not any(args.counts.glob("*.json")):
        parser.error(f"--counts {args.counts}: no kept counts there; ./runs/reproduce_tiny.sh makes them")
    if not args.print and args.counts.resolve() != COUNTS:
        parser.error(f"--counts {args.counts}: the document is made of its own counts; add --print to see these")
    if not args.print and args.quick:
        parser.error("--quick: the document is of the whole study; add --print")
    return args


def main(argv: list[str] | None = None) -> int:
    return exit_code(lambda: _run(parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    size = QUICK if args.quick else FULL
    if args.print:
        for name, table in TABLES.items():
            text = table(args.counts, size)
            if text:
                print(f"\n{name}\n\n{text}")
        return 0
    write_whole(DOCUMENT, rebuilt(DOCUMENT.read_text(encoding="utf-8"), COUNTS))
    for name, svg in pictures(COUNTS).items():
        write_whole(DOCUMENT.parent / "reproduction" / name, svg)
    print(f"Rebuilt {DOCUMENT}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    unfailing_output()
    raise SystemExit(main())
