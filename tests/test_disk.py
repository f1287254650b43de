"""Disks that are full or cannot be written to: what is saved stays, the run goes on, and one line says what helps."""

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from checkpoints.disks import refusal, room
from common.terminal import Unfailing
from tests.small_disk import can_mount, on_small_disk

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mountable(tmp_path):
    """tmp_path, where a disk of a few megabytes can be mounted; skips only where the system does not allow that."""
    if not can_mount(tmp_path / "tried"):
        pytest.skip("this user may not mount a tmpfs in a name space of its own (unshare -rm)")
    return tmp_path


def test_what_is_said_on_full_and_read_only_disks_is_recognised_and_nothing_else(mountable):
    disk = mountable / "disk"
    command = [sys.executable, "-m", "tests.small_disk", str(disk)]
    done = on_small_disk(disk, "1m", command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    full, read_only = os.strerror(errno.ENOSPC), os.strerror(errno.EROFS)
    cut = "a file was cut short, as on a full disk"
    assert json.loads(done.stdout) == {
        "torch": [None, cut, read_only],
        "small torch": [None, cut, read_only],
        "safetensors": [None, full, read_only],
        "tokenizers": [None, full, read_only],
        "text": [None, full, read_only],
        "new run": [f"--output-root: cannot write to FOLDER: {reason}" for reason in (full, read_only)],
    }


def test_errors_of_programs_are_no_faults_of_a_disk():
    assert refusal(RuntimeError("Input/output error of a kernel")) is None, "only torch's writer of files"
    assert refusal(FileNotFoundError(errno.ENOENT, "No such file or directory")) is None
    assert refusal(Exception("No such file or directory (os error 2)")) is None
    assert refusal(ValueError("No space left on device")) is None
    try:
        try:
            raise OSError(errno.EDQUOT, "over quota")
        except OSError as error:
            raise RuntimeError("saving failed") from error
    except RuntimeError as error:
        assert refusal(error) == os.strerror(errno.EDQUOT), "found behind another error"


def test_room_is_told_of_a_folder_that_does_not_exist_yet(tmp_path):
    assert room(tmp_path / "a" / "b").endswith("MB free")


def test_a_log_that_cannot_grow_raises_nothing():
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115  (closing it fails, too)
    with pytest.raises(OSError, match="space"):
        print("lost", file=full)
    print("lost", file=Unfailing(full), flush=True)
    with suppress(OSError):
        full.close()
    written = io.StringIO()
    print("kept", file=Unfailing(written))
    assert written.getvalue() == "kept\n" and not Unfailing(written).isatty()


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "rooms"), [(1, 2), (2, 1)], ids=["one process", "two under ZeRO-3"])
def test_a_full_disk_costs_the_checkpoints_that_do_not_fit_and_nothing_else(processes, rooms, mountable):
    command = [sys.executable, "-m", "tests.full_disk", str(mountable), str(processes), str(rooms)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted == {"rooms": rooms, "refused": 2 * rooms, "went_on_equal": rooms, "resumed_equal": rooms}


@pytest.mark.slow
def test_a_run_whose_model_cannot_be_saved_ends_in_one_line_and_exit_code_1(mountable):
    disk = mountable / "disk"
    flags = "--mode nsr --subset-size 4 --batch-size 2 --num-generations 4 --max-completion-length 8 --held-out 0"
    command = [sys.executable, str(ROOT / "main.py"), *flags.split(), "--report-to", "none", "--output-root", str(disk)]
    done = on_small_disk(disk, "64k", command, cwd=mountable, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Warning: checkpoint-4 could not be written to" in done.stdout
    assert "Traceback" not in done.stderr
    assert "error: the trained model could not be written to" in done.stderr
    assert "The newest whole checkpoint is none" in done.stderr
