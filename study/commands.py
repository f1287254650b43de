"""The command behind runs/reproduce_tiny.sh: python -m study.commands reproduce --counts ... --work ..."""

import argparse
from pathlib import Path

from common.commands import Parser, check_least, program
from common.terminal import unfailing_output
from study import ablations, collapse, plan
from study.stages import Study

PARTS = {"reproduce": plan.reproduce, "factors": ablations.perform_all, "collapse": collapse.perform_all}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add, folder = parser.add_argument, Path("reproduction")
    what = "reproduce: the methods against the base; factors: what makes them differ, after the former; "
    what += "collapse: what keeps them from collapsing at a high learning rate"
    add("what", choices=tuple(PARTS), help=what)
    add("--quick", action="store_true", help="fewer updates, problems, samples and seeds: 20 minutes")
    add("--counts", type=Path, default=folder / "counts", help="what is kept (default: %(default)s)")
    add("--work", type=Path, default=folder / "models", help="may be deleted (default: %(default)s)")
    add("--jobs", type=int, default=2, help="models at a time, a core each (default: %(default)s)")
    return check_least(parser.parse_args(argv), jobs=1)


def _run(args: argparse.Namespace) -> int:
    study = Study(args.counts, args.work, jobs=args.jobs)
    PARTS[args.what](study, plan.QUICK if args.quick else plan.FULL)
    return 0


main = program(parse_args, _run)

if __name__ == "__main__":
    unfailing_output()
    raise SystemExit(main())
