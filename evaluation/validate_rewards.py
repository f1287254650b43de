"""Check that a training log holds the rewards its mode must leave after the filter.

    python evaluation/validate_rewards.py poc_nsr.log --mode nsr
    python evaluation/validate_rewards.py poc_grpo.log poc_psr.log poc_nsr.log poc_w-reinforce.log

`Rewards Accuracy: [...]` lines hold what remains after the filter, before lambda: 1 and 0 for GRPO and PSR, 0 and -1
for NSR, 1 and -1 for W-REINFORCE; what a mode must and must not leave stands in its file under trainers/. A reward
counts as positive above 0.5, negative below -0.1, zero within 0.1 of 0.
Exit code 0: every log passed; 1: a check failed; 2: a log or mode that cannot be used.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script: imports start at the project root, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.commands import Parser, exit_code
from common.terminal import printable, unfailing_output
from trainers import METHODS

REWARD_LINE = re.compile(r"Rewards Accuracy: \[(.*?)\]")
MODES = tuple(METHODS)


@dataclass
class Counts:
    positive: int = 0
    negative: int = 0
    zero: int = 0


def count_rewards(log: str, name: str = "log") -> Counts:
    """The signs of all rewards in the log; ValueError when it holds no reward line or one that is not numbers."""
    lists = REWARD_LINE.findall(log)
    if not lists:
        raise ValueError(f"{name} holds no 'Rewards Accuracy: [...]' line: is it the output of a training run?")
    counts = Counts()
    for values in lists:
        try:
            rewards = [float(value) for value in values.split(",") if value.strip()]
        except ValueError:
            raise ValueError(f"{name} holds a reward list that is not plain numbers: [{values[:60]}]") from None
        counts.positive += sum(reward > 0.5 for reward in rewards)
        counts.negative += sum(reward < -0.1 for reward in rewards)
        counts.zero += sum(abs(reward) < 0.1 for reward in rewards)
    if counts == Counts():
        raise ValueError(f"{name} holds only empty reward lists: nothing was trained on")
    return counts


def complaint(mode: str, counts: Counts) -> str | None:
    """What is wrong with these counts under `mode`, or None."""
    method = METHODS[mode]
    for sign in method.never:
        if getattr(counts, sign):
            return f"{method.label} should have no {sign} rewards, found {getattr(counts, sign)}"
    lacking = [sign for sign in method.finds if not getattr(counts, sign)]
    if not lacking:
        return None
    if len(method.finds) > 1:
        return f"{method.label} should have both {' and '.join(method.finds)} rewards, found no {lacking[0]} ones"
    return f"{method.label} should have {lacking[0]} rewards, found none"


def mode_of(path: Path) -> str:
    """The mode in a log's name: poc_nsr.log, nsr_log.txt and poc_w_reinforce.log say theirs."""
    name = path.stem.casefold().replace("_", "-")
    named = [mode for mode in MODES if re.search(rf"(^|-){mode}($|-)", name)]
    named = [mode for mode in named if not any(mode in other for other in named if other != mode)]  # x in y-x
    if len(named) != 1:
        raise ValueError(f"{path}: its name does not say one mode, name it with --mode ({', '.join(MODES)})")
    return named[0]


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


def main(argv: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
