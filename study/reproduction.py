"""Rebuilds the tables and pictures of docs/reproduction.md from the kept counts; --print shows those of any counts.

    python -m study.reproduction                               writes docs/reproduction.md, README.md and pictures anew
    python -m study.reproduction --print --counts FOLDER       prints the tables of another run of the study

In the document a table stands between `<!-- table NAME -->` and `<!-- end -->`; the text around is written by hand.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.commands import Parser, program
from common.files import write_whole
from common.terminal import unfailing_output
from study import ablation_tables, collapse, figures, scored, tables, ways, words
from study.plan import FULL, QUICK, Size
from study.summary import Arm

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT, README = ROOT / "docs" / "reproduction.md", ROOT / "README.md"
COUNTS = ROOT / "docs" / "reproduction" / "counts"
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = "Not run yet."

Table = Callable[[Path, Size], str | None]
COMMON, OWN = (tables.common_arms, tables.common_marked), (tables.own_arms, tables.own_marked)


def _of(arms: Callable[[Path, Size], dict[str, Arm]], table: Callable[[dict[str, Arm]], str | None]) -> Table:
    return lambda counts, size: table(arms(counts, size))


def _plain(arms: Callable[[Path, Size], dict[str, Arm]]) -> Callable[[Path, Size], dict[str, Arm]]:
    return lambda counts, size: tables.plain(arms(counts, size))


def _results(every, marked) -> dict[str, Table]:
    """The tables of the methods at one choice of learning rates: all charts, plain ones, marked ones, ways."""
    return {
        "pass-at-k": _of(every, tables.curve_table),
        "differences": _of(every, tables.differences),
        "by-seed": _of(every, tables.by_seed),
        "plain": _of(_plain(every), tables.curve_table),
        "plain-differences": _of(_plain(every), tables.differences),
        "marked": _of(marked, tables.curve_table),
        "marked-differences": _of(marked, tables.differences),
        "ways-plain": _of(_plain(every), ways.share_table),
        "ways-marked": _of(marked, ways.share_table),
        "ways-differences": lambda counts, size: ways.change_table(
            tables.plain(every(counts, size)), marked(counts, size)
        ),
        "equal-merit": _of(_plain(every), ways.equal_merit),
        "kinds": _of(every, tables.kinds),
        "completions": _of(every, tables.texts),
        "held-out": _of(every, tables.held_out),
    }


def _quick(table: Table) -> Table:
    return lambda counts, size: table(counts.parent / "quick_counts", QUICK)


TABLES: dict[str, Table] = {
    "abstract": words.abstract,
    "opening": words.opening,
    "progress": tables.progress,
    **_results(*COMMON),
    "ways-scored": scored.of_common,
    "learning-rates": tables.learning_rates,
    **{f"own-{name}": table for name, table in _results(*OWN).items()},
    "own-ways-scored": scored.of_own,
    "paper-sampling": _of(tables.paper_arms, tables.curve_table),
    "paper-sampling-differences": _of(tables.paper_arms, tables.differences),
    "factors": ablation_tables.factor_table,
    "factors-ways": ablation_tables.factor_ways,
    "factors-training": ablation_tables.factor_training,
    "longer": _of(ablation_tables.long_arms, ablation_tables.long_table),
    "longer-marked": _of(ablation_tables.long_marked, tables.curve_table),
    "longer-ways-marked": _of(ablation_tables.long_marked, ways.share_table),
    "longer-held-out": _of(ablation_tables.long_arms, ablation_tables.long_held_out),
    "collapse": collapse.table,
    "lambda": lambda counts, size: ablation_tables.lambda_table(counts.parent / "lambda_counts"),
    "lambda-ways": lambda counts, size: ablation_tables.lambda_ways(counts.parent / "lambda_counts"),
    **{f"quick-{name}": _quick(_results(*COMMON)[name]) for name in ("differences", "marked-differences")},
}


def rebuilt(document: str, counts: Path) -> str:
    """The document with every table computed anew. ValueError for a block that no table is for."""

    def replace(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise ValueError(f"there is no table {match[2]}; known are {', '.join(TABLES)}")
        return f"{match[1]}\n{TABLES[match[2]](counts, FULL) or NOT_RUN}\n\n{match[3]}"

    return BLOCK.sub(replace, document)


def pictures(counts: Path) -> dict[str, str]:
    """File name -> SVG, those for which something is kept."""
    every, marked = (arms(counts, FULL) for arms in COMMON)
    if not every or not marked:
        return {}
    drawn = {
        "pass_at_k.svg": figures.panels_figure({"Pass@k (%), all charts": every, "Pass@k (%), marked charts": marked}),
        "ways.svg": figures.ways_figure(
            {"Ways to answer (%), plain charts": tables.plain(every), "Ways to answer (%), marked charts": marked}
        ),
        "training.svg": figures.training_figure(every),
    }
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


def _run(args: argparse.Namespace) -> int:
    size = QUICK if args.quick else FULL
    if args.print:
        for name, table in TABLES.items():
            text = table(args.counts, size)
            if text:
                print(f"\n{name}\n\n{text}")
        return 0
    for document in (DOCUMENT, README):
        write_whole(document, rebuilt(document.read_text(encoding="utf-8"), COUNTS))
    for name, svg in pictures(COUNTS).items():
        write_whole(DOCUMENT.parent / "reproduction" / name, svg)
    print(f"Rebuilt {DOCUMENT} and the table of {README}", file=sys.stderr)
    return 0


main = program(parse_args, _run)

if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
