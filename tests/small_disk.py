"""A disk of a few megabytes, mounted where only one command sees it, and how writers fail on it.

It is a tmpfs in a name space of its own and is gone with the command. `unshare` allows that to root, and to other users
where name spaces are. `python -m tests.small_disk DISK` prints what each writer said, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from checkpoints.disks import refusal
from checkpoints.run_folder import prepare_folder

MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
RECORD = {"settings": {}, "data": {"fingerprint": "f"}, "prompt": {"hash": "h"}}


def on_small_disk(disk: Path, size: str, command: list[str], **options) -> subprocess.CompletedProcess:
    """Runs `command` where a tmpfs of `size` is mounted on `disk`."""
    disk.mkdir(parents=True, exist_ok=True)
    return subprocess.run(["unshare", "-rm", "sh", "-c", MOUNT, "sh", size, str(disk), *command], **options)


def can_mount(folder: Path) -> bool:
    return on_small_disk(folder, "1m", ["true"], capture_output=True).returncode == 0


def fill(disk: Path, room: int) -> None:
    """Leaves `room` bytes of the disk free."""
    state = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - room))


def what_writers_say(disk: Path) -> dict[str, list[str | None]]:
    """How torch, safetensors, Python and a new run fail: without a folder, on a full disk, on a read-only one."""
    tensor = torch.zeros(1_000_000)
    tokenizer = Tokenizer(models.WordLevel({f"word {number}": number for number in range(50_000)}, unk_token="word 0"))
    writers = {
        "torch": lambda folder: torch.save({"a": tensor}, folder / "a.pt"),
        "small torch": lambda folder: torch.save({"a": 1}, folder / "b.pt"),
        "safetensors": lambda folder: save_file({"a": tensor}, folder / "c.safetensors"),
        "tokenizers": lambda folder: tokenizer.save(str(folder / "e.json")),
        "text": lambda folder: (folder / "d.txt").write_text("d" * 4_000_000),
    }
    said = {name: [_say(writer, disk / "nowhere")] for name, writer in writers.items()}
    said["new run"] = []
    fill(disk, 0)
    for _ in ("full", "read-only"):
        for name, writer in writers.items():
            said[name].append(_say(writer, disk))
        said["new run"].append(_new_run(disk / "root" / "run"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return said


def _say(writer, folder: Path) -> str | None:
    try:
        writer(folder)
    except Exception as error:
        return refusal(error)
    return "written"


def _new_run(folder: Path) -> str:
    try:
        prepare_folder(folder, RECORD, resume=None, overwrite=False)
    except ValueError as error:
        return str(error).replace(str(folder), "FOLDER")
    return "made"


if __name__ == "__main__":
    print(json.dumps(what_writers_say(Path(sys.argv[1]))))
