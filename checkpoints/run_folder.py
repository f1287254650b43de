"""The folder of a run: its name, what happens when it exists, and the settings file saved in it."""

import argparse
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from charts.prompt import prompt_record
from checkpoints.finding import SETTINGS_FILE
from checkpoints.manifest import step_of
from checkpoints.resuming import BATCH, LENGTH, differences, find_checkpoint, spans_run
from common.files import lock, user_path, write_whole
from common.launcher import launch, num_processes
from rewards import recorded
from settings.table import all_settings
from trainers import METHODS

PUBLISHED = "published"  # in a run folder: adapters on their way to a server (update/server_rollouts.py)
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "numpy")


def run_folder(root: str, vlm_name: str, mode: str, seed: int) -> Path:
    """<root>/<vlm>-prm-large-train-v2[-<mode>]-<seed>; the baseline, GRPO, has no mode in its name."""
    path = user_path(vlm_name).resolve()
    is_folder = path.is_dir() or vlm_name.count("/") > 1 or vlm_name.startswith((".", "~", "/"))  # one that has moved
    name = path.name if is_folder else vlm_name.replace("/", "--")
    if is_folder and step_of(path) >= 0:  # every run has its checkpoint-50
        name = f"{path.parent.name}-{path.name}"
    middle = f"-{mode}" if METHODS[mode].named_in_folder else ""
    return user_path(root) / f"{name}-prm-large-train-v2{middle}-{seed}"


def settings_record(args: argparse.Namespace, model: dict, data: dict) -> dict:
    """What is saved beside a checkpoint: resolved settings, data fingerprint, prompt, image limits, versions, commit.

    `model` is that of training/starting.py; `data` has name, split, fingerprint and num_questions of the questions
    trained on.
    """
    settings = {name: getattr(args, name) for name in all_settings() if hasattr(args, name)}
    settings["num_processes"] = num_processes()
    if "prompt" in settings:
        settings["prompt"] = prompt_record(args.prompt)["name"]  # the text of one's own stands below
    if "mode" in settings:
        settings |= METHODS[settings["mode"]].recorded(settings)
    if settings.get("reward"):
        settings |= recorded(settings["reward"])
    packages = (*PACKAGES, "bitsandbytes") if settings.get("base_4bit") else PACKAGES
    return {
        "settings": settings,
        "launch": asdict(launch()),
        "model": model,
        "data": data,
        "prompt": prompt_record(args.prompt),
        "image": {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels},
        "versions": {name: _version(name) for name in packages},
        "git_commit": _git_commit(),
        "finished": False,
    }


def write_settings(folder: Path, record: dict) -> None:
    """Writes the settings file whole or not at all."""
    write_whole(folder / SETTINGS_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


_claimed: int | None = None  # descriptor of the folder that this process trains in


def claim(folder: Path) -> None:
    """Locks an existing folder for this process, until it ends or claims another. ValueError when another holds it."""
    global _claimed
    before, _claimed = _claimed, os.open(folder, os.O_RDONLY)
    if before is not None:
        os.close(before)
    if not lock(_claimed, wait=False):
        raise ValueError(
            f"{folder} is being trained in by another process; wait for it, end it, or use another --output-root"
        )


def release() -> None:
    """Lets go of the folder that this process has claimed."""
    global _claimed
    if _claimed is not None:
        os.close(_claimed)
    _claimed = None


def prepare_folder(
    folder: Path, record: dict, *, resume: bool | str | None, overwrite: bool, deepspeed: bool = False
) -> tuple[list[str], Path | None]:
    """Makes `folder` ready for a run with these settings, on one process: (lines to print, checkpoint to resume from).

    A finished run made with other settings is set aside as <folder>.1 (.2, ...); --resume trains one further that is
    to be longer. ValueError when the folder holds a finished run with the same settings or an unfinished one and
    neither flag is given, when --resume finds nothing to continue or other settings, when another process trains in
    it, and when it cannot be written. `resume` may name one of its checkpoints.
    """
    try:
        return _prepare(folder, record, resume, overwrite, deepspeed)
    except ValueError:
        release()
        raise
    except OSError as error:
        release()
        raise ValueError(f"--output-root: cannot write to {folder}: {error.strerror}") from None


def _prepare(folder: Path, record: dict, resume, overwrite: bool, deepspeed: bool) -> tuple[list[str], Path | None]:
    lines, checkpoint = [], None
    if folder.exists() and any(folder.iterdir()):
        claim(folder)
        old = _read_settings(folder)
        changed = differences(old, record) if old else []
        if old is None:
            raise ValueError(f"{folder} has no readable {SETTINGS_FILE}, so it is no run of this program; move it away")
        if overwrite and not _is_empty_start(folder, old):
            discard_replaced(folder)
            folder.rename(_replaced(folder))
            lines.append(f"Replacing the old {folder}; it is deleted once the new model is loaded")
        elif resume:
            lines, checkpoint = find_checkpoint(folder, old, record, resume, deepspeed)
        elif _is_empty_start(folder, old):
            shutil.rmtree(folder)
        elif old.get("finished") and changed:
            aside = next(path for n in range(1, 10_000) if not (path := Path(f"{folder}.{n}")).exists())
            folder.rename(aside)
            lines.append(f"Set the finished run made with other settings aside as {aside}")
            if {line.partition(":")[0] for line in changed} <= set(LENGTH) and not spans_run(record):
                lines.append(f"Only its length was another: moved back to {folder}, it is trained further by --resume")
        else:
            if old.get("finished"):
                raise ValueError(
                    f"{folder} holds a finished run with these settings; --resume with more --num-epochs or "
                    "--max-steps trains it further, --overwrite deletes it"
                )
            raise ValueError(
                f"{folder} holds an unfinished run; continue it with --resume or delete it with --overwrite"
            )
    elif resume:
        raise ValueError(f"--resume: there is no run to continue in {folder}; leave the flag out to start one")
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder)
    if not resume:  # else when the model is loaded: what was finished is so until then
        write_settings(folder, record)
    return lines, checkpoint


def _replaced(folder: Path) -> Path:
    return Path(f"{folder}.replaced")


def discard_replaced(folder: Path) -> None:
    """Deletes what --overwrite moved out of the way: called when the new run has its model, not before."""
    if _replaced(folder).exists():
        shutil.rmtree(_replaced(folder))


def _is_empty_start(folder: Path, old: dict) -> bool:
    """Whether a run ended before it left anything: no checkpoint, no result."""
    kept = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    kept -= {SETTINGS_FILE, "README.md", PUBLISHED}
    return not old.get("finished") and not kept


def _read_settings(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    groups = [record.get(name, {}) for name in ("settings", "data", "prompt", "model")]
    counts = [record.get("settings", {}).get(name) for name in BATCH] if isinstance(groups[0], dict) else [""]
    whole = all(isinstance(group, dict) for group in groups) and all(type(n) in (int, type(None)) for n in counts)
    return record if whole else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
