"""Run by test_resume.py in a process of its own: kill -9 at random moments of runs that save after every step.

Every run goes on from its newest whole checkpoint until it is done. Prints how many kills there were, how many of them
came while a checkpoint was being written, and whether every run ended with the weights and the log of an unbroken one.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.test_resume import build, seen, weights
from training.checkpoints import STAGING, checkpoints, damage, newest_usable

RUN = {"mode": "w-reinforce", "updates": 2, "rows": 16}


def train(folder: Path) -> None:
    checkpoint, _ = newest_usable(checkpoints(folder), lambda path: None)
    trainer = build(folder, **RUN, save_total_limit=2)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    torch.save(weights(trainer), folder / "weights.pt")
    (folder / "log.json").write_text(json.dumps(seen(trainer), sort_keys=True))


def in_child(folder: Path, seconds: float | None) -> bool:
    """Trains in a child process; whether it was killed, after `seconds`."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train(folder)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert seconds is not None or status == 0, "the run failed"
    return os.WIFSIGNALED(status)


def main(folder: Path, wanted: int) -> None:
    for name in ("warm", "unbroken"):
        started = time.monotonic()
        in_child(folder / name, None)
    longest = time.monotonic() - started
    moments, kills, saving, runs, equal = random.Random(2025), 0, 0, 0, 0
    while kills < wanted:
        run = folder / f"run-{runs}"
        for attempt in range(4):
            killed = in_child(run, moments.uniform(0.1, longest) if attempt < 3 else None)
            kills += killed
            saving += killed and (run / STAGING).exists()
            assert all(damage(path) is None for path in checkpoints(run)[:1]), "a torn checkpoint was put in place"
            if not killed:
                break
        same = torch.equal(torch.load(run / "weights.pt"), torch.load(folder / "unbroken" / "weights.pt"))
        equal += same and (run / "log.json").read_text() == (folder / "unbroken" / "log.json").read_text()
        runs += 1
    print(json.dumps({"kills": kills, "while_saving": saving, "runs": runs, "equal": equal}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
