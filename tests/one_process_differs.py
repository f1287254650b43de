"""Run by test_processes.py: two processes under ZeRO-3, of which the second has other rows, or a reward that raises.

Prints, for each case and process, how far it came, what was counted, and the sum of its weights.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

from common.processes import start_together
from tests import forked, one_layer
from tests.nan_on_one_rank import gathered
from trainers.trainer import TRAINERS

WRONG, RIGHT, UNSCORABLE = ["b .", "c d e .", "c .", "d e a ."], ["a b ."] * 4, ["h a ."] * 4
CASES = {  # completions of the two processes
    "nothing to learn": (WRONG, RIGHT),
    "unscorable": (WRONG, UNSCORABLE),
    "raises": (WRONG, WRONG),
    "always raises": (WRONG, WRONG),
}


def train(folder: Path, case: str) -> None:
    start_together(minutes=0.5)
    rank = int(os.environ["RANK"])

    def accuracy(completions, completion_ids, **columns):
        if case == "always raises" or (case == "raises" and rank == 1 and any(len(ids) > 2 for ids in completion_ids)):
            raise ZeroDivisionError
        return one_layer.accuracy(completions, completion_ids)

    trainer = one_layer.trainer(
        TRAINERS["nsr"], folder, generations=2, batch=4, rows=16, max_steps=3, rewards=(accuracy,)
    )
    one_layer.fix_rollouts(trainer, CASES[case][rank])
    trainer.train()
    first = trainer.state.log_history[0]
    outcome = {
        "steps": trainer.state.global_step,
        "errors": first["decomposed/reward_errors"],
        "kept": first["decomposed/kept_share"],
        "unhealthy": trainer.unhealthy,
        "weights": sum(gathered(trainer.model_wrapped)),
    }
    (folder / f"rank_{rank}.json").write_text(json.dumps(outcome))


def main(folder: Path) -> None:
    outcomes = {}
    for case in CASES:
        codes = forked.wait(forked.start(functools.partial(train, case=case), folder / case, 2), 60.0)
        assert codes == [0, 0], f"{case}: {codes}"
        outcomes[case] = [json.loads((folder / case / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
