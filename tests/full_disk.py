"""A disk of a few megabytes that is full while a checkpoint is saved, for one process or two under DeepSpeed ZeRO-3.

`python -m tests.full_disk FOLDER PROCESSES ROOMS` starts itself again where a disk of 8 MB is mounted on FOLDER/disk
(tests/small_disk.py). In every trial another number of bytes is left, so that another file of the checkpoint is the one
that is cut. Prints the counts as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from checkpoints.manifest import STAGING, checkpoints, damage, newest_usable
from common.processes import start_together
from tests import forked
from tests.nan_on_one_rank import gathered
from tests.small_disk import fill, on_small_disk
from tests.test_resume import build, seen

RUN = {"mode": "w-reinforce", "updates": 2, "rows": 16}
FULL, ROOMY, ENDED = 3, 5, 9  # the steps before which the disk is filled and cleared; how a run ends that is broken off
SECONDS = 120.0


class FillDisk(TrainerCallback):
    """Fills the disk before the checkpoint of step FULL, and makes room later, or ends the process."""

    def __init__(self, disk: Path, room: int, breaks_off: bool):
        self.disk, self.room, self.breaks_off = disk, room, breaks_off

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == FULL and state.is_world_process_zero:
            fill(self.disk, self.room)
        if state.global_step == ROOMY:
            if self.breaks_off:
                os._exit(ENDED)
            (self.disk / "filler").unlink(missing_ok=True)


def train(logs: Path, run: Path, room: int | None = None, breaks_off: bool = False) -> None:
    start_together(minutes=0.5)
    checkpoint, _ = newest_usable(checkpoints(run), lambda path: None)
    trainer = build(run, **RUN, save_total_limit=2)
    if room is not None:
        trainer.add_callback(FillDisk(run.parent, room, breaks_off))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    weights = torch.tensor(gathered(trainer.model_wrapped))
    if trainer.accelerator.is_main_process:
        assert trainer.unsaved is None, "the last checkpoint has found room"
        torch.save(weights, logs / "weights.pt")
        (logs / "log.json").write_text(json.dumps(seen(trainer), sort_keys=True))


def full_disk_runs(folder: Path, processes: int, rooms: int) -> dict[str, int]:
    """Runs on FOLDER/disk, a small disk, two for each of `rooms` numbers of bytes that are left on it.

    In one the disk stays full for two checkpoints and the run goes on; the other is broken off then and resumed from
    the newest whole checkpoint after room was made. Returns the trials, the checkpoints that could not be written, and
    how many runs went on, and were resumed, with the weights and log of a run on a disk with room, bit for bit.
    """
    disk, counts = folder / "disk", {"rooms": rooms, "refused": 0, "went_on_equal": 0, "resumed_equal": 0}

    def trial(name: str, ends: int = 0, run: str | None = None, **settings) -> Path:
        step = functools.partial(train, run=disk / (run or name), **settings)
        codes = forked.wait(forked.start(step, folder / name, processes), SECONDS)
        assert codes == [ends] * processes, f"{codes}: see {folder / name}/err_*"
        return folder / name

    def results(logs: Path) -> tuple[list[float], str]:
        return torch.load(logs / "weights.pt").tolist(), (logs / "log.json").read_text()

    roomy = results(trial("roomy"))
    newest = checkpoints(disk / "roomy")[0]
    size = sum(path.stat().st_blocks * 512 for path in newest.rglob("*"))
    for number in range(rooms):
        room = size * number // rooms
        went_on = trial(f"on-{number}", room=room)
        counts["refused"] += (went_on / "out_0").read_text().count("could not be written")
        counts["went_on_equal"] += results(went_on) == roomy
        trial(f"off-{number}", ends=ENDED, room=room, breaks_off=True)
        run = disk / f"off-{number}"
        left = checkpoints(run)
        assert left and not any(map(damage, left)) and not (run / STAGING).exists(), "the checkpoints before it"
        (disk / "filler").unlink()
        counts["resumed_equal"] += results(trial(f"resumed-{number}", run=f"off-{number}")) == roomy
        for name in (f"on-{number}", f"off-{number}"):
            shutil.rmtree(disk / name)
    return counts


if __name__ == "__main__":
    target, *numbers = Path(sys.argv[1]), *sys.argv[2:]
    if not os.path.ismount(target / "disk"):
        again = [sys.executable, "-m", "tests.full_disk", str(target), *numbers]
        sys.exit(on_small_disk(target / "disk", "8m", again).returncode)
    print(json.dumps(full_disk_runs(target, *map(int, numbers))))
