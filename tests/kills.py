"""kill -9 at random moments of runs that save after every step, in one process or in two under DeepSpeed ZeRO-3.

`python -m tests.kills FOLDER KILLS [PROCESSES]`, in a process of its own. A killed run goes on from its newest whole
checkpoint until it is done. With two processes every third kill hits one of them alone, and the other must end by
itself. Prints the counts as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from checkpoints.manifest import STAGING, checkpoints, damage, newest_usable
from common.processes import start_together
from tests import forked
from tests.nan_on_one_rank import gathered
from tests.test_resume import build, seen

RUN = {"mode": "w-reinforce", "updates": 2, "rows": 16}
SECONDS = 120.0  # a run, and a process whose partner is gone, must have ended by then


def train(folder: Path) -> None:
    start_together(minutes=0.2)  # a process that is killed before it has met the other one
    checkpoint, _ = newest_usable(checkpoints(folder), lambda path: None)
    trainer = build(folder, **RUN, save_total_limit=2)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    weights = torch.tensor(gathered(trainer.model_wrapped))
    if trainer.accelerator.is_main_process:
        torch.save(weights, folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(seen(trainer), sort_keys=True))


def attempt(folder: Path, processes: int, seconds: float | None, victims: list[int]) -> bool:
    """Trains until it is done, or until kill -9 hits these ranks after `seconds`; whether it did.

    AssertionError when the other ranks do not end by themselves, or when a run fails that nobody has killed.
    """
    children = forked.start(train, folder, processes)
    if seconds is not None:
        time.sleep(seconds)
        for rank in victims:
            os.kill(children[rank], signal.SIGKILL)
    codes = forked.wait(children, SECONDS)
    killed = -signal.SIGKILL in codes
    assert killed or not any(codes), f"the run in {folder} failed by itself: see {folder}/err_*"
    return killed


def kill_runs(folder: Path, wanted: int, processes: int = 1) -> dict[str, int]:
    """At least `wanted` kills of two-epoch runs, every one taken up again until it is done.

    Returns the kills, how many came while a checkpoint was being written, how many hit one process of several, the
    runs, and how many of these ended with the weights and every line of the log of an unbroken one, bit for bit.
    """
    for name in ("warm", "unbroken"):
        started = time.monotonic()
        attempt(folder / name, processes, None, [])
    longest, unbroken = time.monotonic() - started, folder / "unbroken"
    moments = random.Random(2025)
    counts = {"kills": 0, "while_saving": 0, "of_one_process": 0, "runs": 0, "equal": 0}
    while counts["kills"] < wanted:
        run = folder / f"run-{counts['runs']}"
        for trial in range(4):
            alone = processes > 1 and counts["kills"] % 3 == 2
            victims = [moments.randrange(processes)] if alone else list(range(processes))
            killed = attempt(run, processes, moments.uniform(0.1, longest) if trial < 3 else None, victims)
            counts["kills"] += killed
            counts["of_one_process"] += killed and alone
            counts["while_saving"] += killed and (run / STAGING).exists()
            newest = checkpoints(run)[:1]  # an older one may have been half deleted
            assert not any(map(damage, newest)), "a torn checkpoint was put in place"
            if not killed:
                break
        same = torch.equal(torch.load(run / "weights.pt"), torch.load(unbroken / "weights.pt"))
        counts["equal"] += same and (run / "log.json").read_text() == (unbroken / "log.json").read_text()
        counts["runs"] += 1
    return counts


if __name__ == "__main__":
    print(json.dumps(kill_runs(Path(sys.argv[1]), int(sys.argv[2]), int((sys.argv[3:] or ["1"])[0]))))
