"""The rewards that a training log shows, and whether they are what its mode must leave after the filter."""

import re
from dataclasses import dataclass
from pathlib import Path

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
