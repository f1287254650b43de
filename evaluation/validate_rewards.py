"""Check that a training log holds the rewards its mode must leave after the filter.

    python evaluation/validate_rewards.py poc_nsr.log --mode nsr
    python evaluation/validate_rewards.py poc_grpo.log poc_psr.log poc_nsr.log poc_w-reinforce.log

`Rewards Accuracy: [...]` lines hold what remains after the filter, before lambda: 1 and 0 for GRPO and PSR, 0 and -1
for NSR, 1 and -1 for W-REINFORCE; what a mode must and must not leave stands in its file under trainers/. A reward
counts as positive above 0.5, negative below -0.1, zero within 0.1 of 0.
Exit code 0: every log passed; 1: a check failed; 2: a log or mode that cannot be used.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, program
from common.terminal import printable, unfailing_output
from evaluation.reward_log import MODES, complaint, count_rewards, mode_of


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    parser = Parser(prog="validate_rewards.py", description="Check the rewards in training logs against their modes.")
    parser.add_argument("logs", nargs="+", metavar="LOG", help="output of a training run")
    parser.add_argument(
        "--mode",
        action="append",
        choices=MODES,
        help="the log's mode, once per log in their order (default: taken from the name, poc_<mode>.log)",
    )
    return parser.parse_args(argv)


def run(args: Namespace) -> int:
    paths = [Path(log) for log in args.logs]
    if args.mode and len(args.mode) != len(paths):
        raise ValueError(f"--mode names {len(args.mode)} modes for {len(paths)} logs: one each")
    modes = args.mode or [mode_of(path) for path in paths]
    counted = [count_rewards(path.read_text(encoding="utf-8", errors="replace"), str(path)) for path in paths]
    failures = 0
    for path, mode, counts in zip(paths, modes, counted, strict=True):
        print(f"\n{mode.upper()} Reward Distribution:")
        print(f"  Positive: {counts.positive}\n  Negative: {counts.negative}\n  Zero: {counts.zero}")
        wrong = complaint(mode, counts)
        failures += wrong is not None
        print(printable(f"✗ {wrong} ({path})") if wrong else f"✓ {mode.upper()} validation passed")
    return 1 if failures else 0


main = program(parse_args, run)

if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
