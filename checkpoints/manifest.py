"""Checkpoint folders that are whole or recognised as torn.

A checkpoint is written in a folder beside (`.saving`), gets a manifest with the size and SHA-256 of every file, is
flushed to the disk and renamed into place. What a crash leaves in `.saving` is no checkpoint; what a power cut or a
full disk tears afterwards does not match its manifest. Plain files: neither torch nor transformers is needed here.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from common.files import replace_folder

MANIFEST = "manifest.json"
STAGING = ".saving"


def clear_staging(folder: Path) -> Path:
    """The empty folder below which the next checkpoint of the run in `folder` is written."""
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    (folder / STAGING).mkdir(parents=True)
    return folder / STAGING


def publish(written: Path, final: Path) -> None:
    """Gives the finished folder `written` its manifest and makes it `final`, in place of what is there."""
    files = sorted(path for path in written.rglob("*") if path.is_file() and path.name != MANIFEST)
    entries = {}
    for path in files:
        entries[path.relative_to(written).as_posix()] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    (written / MANIFEST).write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")
    replace_folder(written, final)
    shutil.rmtree(written.parent, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_of(checkpoint: Path) -> int:
    """50 for .../checkpoint-50, -1 for a name that is none."""
    prefix, _, number = checkpoint.name.partition("-")
    return int(number) if prefix == "checkpoint" and number.isdecimal() else -1


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of a run, newest step first, whole or not."""
    return sorted((path for path in folder.glob("checkpoint-*") if step_of(path) >= 0), key=step_of, reverse=True)


def damage(checkpoint: Path, hashes: bool = True) -> str | None:
    """What is wrong with a checkpoint, in a few words; None when it is whole. Without `hashes` only sizes are read."""
    try:
        entries = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in entries.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing" if checkpoint.is_dir() else "there is no such folder"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    if "trainer_state.json" not in expected:
        return f"{MANIFEST} names no trainer_state.json"
    for name, (size, digest) in expected.items():
        path = checkpoint / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
            if hashes and _sha256(path) != digest:
                return f"{name} has other content than when it was saved"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def newest_usable(candidates: list[Path], unsuitable: Callable[[Path], str | None]) -> tuple[Path | None, list[str]]:
    """The first of these checkpoints that is whole and not `unsuitable`, and a line for each one before it."""
    lines: list[str] = []
    for checkpoint in candidates:
        problem = damage(checkpoint)
        reason = f"is damaged: {problem}" if problem else unsuitable(checkpoint)
        if reason is None:
            return checkpoint, lines
        lines.append(f"{checkpoint} {reason}")
    return None, lines


def keep_newest(folder: Path, limit: int | None, also: set[Path]) -> None:
    """Deletes all but the newest `limit` whole checkpoints and those in `also`.

    A damaged one does not count, so the last one that can be resumed from is never deleted.
    """
    if limit is None or limit < 1:
        return
    whole = [path for path in checkpoints(folder) if damage(path, hashes=False) is None]
    kept = {path.resolve() for path in [*whole[:limit], *also]}
    for path in checkpoints(folder) if whole else []:
        if path.resolve() not in kept:
            shutil.rmtree(path, ignore_errors=True)
