"""The folder of a run: its name, what happens when it exists, and the settings file saved in it."""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from charts.prompt import prompt_hash
from trainers import METHODS, method_options
from training.checkpoints import STAGING, checkpoints, damage, newest_usable, step_of
from training.pickles import foreign

SETTINGS_FILE = "training_settings.json"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "numpy")
# Settings that say where and how a run is kept, not what it computes.
BOOKKEEPING = {
    "resume", "overwrite", "output_root", "config", "explicit", "report_to", "wandb_online", "log_completions",
    "save_steps", "save_total_limit", "estimate", "max_bad_updates", "warn_window", "warn_entropy", "warn_length",
    "warn_truncation", "warn_format", "warn_ratio", "stop_on_collapse", "collective_timeout",
}  # fmt: skip
BATCH = ("batch_size", "num_processes", "gradient_accumulation_steps")  # an update has their product of completions


def run_folder(root: str, vlm_name: str, mode: str, seed: int) -> Path:
    """<root>/<vlm>-prm-large-train-v2[-<mode>]-<seed>, the guides' name; their baseline has no mode in it."""
    path = Path(vlm_name)
    name = path.resolve().name if path.is_dir() else vlm_name.replace("/", "--")
    middle = f"-{mode}" if METHODS[mode].named_in_folder else ""
    return Path(root) / f"{name}-prm-large-train-v2{middle}-{seed}"


def settings_record(args: argparse.Namespace, source: str, data: dict) -> dict:
    """What is saved beside a checkpoint: resolved settings, data fingerprint, prompt, image limits, versions, commit.

    `data` has name, split, fingerprint and num_questions of the questions trained on.
    """
    settings = {name: value for name, value in vars(args).items() if name != "explicit"}
    settings["num_processes"] = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "settings": settings,
        "model": {"name": args.vlm_name, "source": source},
        "data": data,
        "prompt": {"name": args.prompt, "hash": prompt_hash(args.prompt)},
        "image": {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels},
        "versions": {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "finished": False,
    }


def write_settings(folder: Path, record: dict) -> None:
    """Writes the settings file whole or not at all."""
    partial = folder / f".{SETTINGS_FILE}.part"
    try:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(folder / SETTINGS_FILE)
    except OSError:
        partial.unlink(missing_ok=True)  # what is cut short on a full disk must not stand in the way of the next start
        raise


_claimed: int | None = None  # descriptor of the folder that this process trains in


def claim(folder: Path) -> None:
    """Locks an existing folder for this process, until it ends or claims another. ValueError when another one holds it.

    A file system that cannot lock a folder (NFS) protects nothing, as it would not without the lock.
    """
    global _claimed
    before, _claimed = _claimed, os.open(folder, os.O_RDONLY)
    if before is not None:
        os.close(before)
    try:
        fcntl.flock(_claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{folder} is being trained in by another process; wait for it, end it, or use another --output-root"
        ) from None
    except OSError:
        return


def prepare_folder(
    folder: Path, record: dict, *, resume: bool | str | None, overwrite: bool, deepspeed: bool = False
) -> tuple[list[str], Path | None]:
    """Makes `folder` ready for a run with these settings, on one process: (lines to print, checkpoint to resume from).

    A finished run made with other settings is set aside as <folder>.1 (.2, ...). ValueError when the folder holds a
    finished run with the same settings or an unfinished one and neither flag is given, when --resume finds nothing to
    continue or other settings, when another process trains in it, and when it cannot be written. `resume` may name one
    of its checkpoints.
    """
    try:
        return _prepare(folder, record, resume, overwrite, deepspeed)
    except OSError as error:
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
            lines, checkpoint = _find_checkpoint(folder, old, record, resume, deepspeed)
        elif _is_empty_start(folder, old):
            shutil.rmtree(folder)
        elif old.get("finished") and changed:
            aside = next(path for n in range(1, 10_000) if not (path := Path(f"{folder}.{n}")).exists())
            folder.rename(aside)
            lines.append(f"Set the finished run made with other settings aside as {aside}")
        else:
            if old.get("finished"):
                raise ValueError(f"{folder} holds a finished run with these settings; delete it with --overwrite")
            raise ValueError(
                f"{folder} holds an unfinished run; continue it with --resume or delete it with --overwrite"
            )
    elif resume:
        raise ValueError(f"--resume: there is no run to continue in {folder}; leave the flag out to start one")
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder)
    write_settings(folder, record)
    return lines, checkpoint


def _find_checkpoint(folder: Path, old: dict, new: dict, resume: bool | str, deepspeed: bool):
    """(lines to print, checkpoint): the newest usable one, or the one named; None when the run had saved none yet."""
    if old.get("finished"):
        raise ValueError(f"--resume: the run in {folder} is finished; start anew with --overwrite")
    _check_settings(folder, old, new, deepspeed)
    there = checkpoints(folder)
    if resume is True and not there:
        return [f"No checkpoint in {folder} yet: starting from the beginning"], None
    named = there if resume is True else [path for path in there if path.resolve() == Path(resume).resolve()]
    if not named:
        names = ", ".join(path.name for path in there) or "none"
        raise ValueError(f"--resume {resume}: no checkpoint of the run in {folder}, which has {names}")
    processes, updates = _processes(new), new["settings"].get("updates_per_rollout", 1)

    def unsuitable(path: Path) -> str | None:
        code = None if deepspeed or (path / "latest").exists() else foreign(path)
        return f"is not used: {code}" if code else half_done(path)

    def half_done(path: Path) -> str | None:
        if step_of(path) % updates == 0 or _made_by(path) == processes:
            return None
        return f"lies between the updates of a rollout batch that {_made_by(path)} processes hold, not {processes}"

    checkpoint, lines = newest_usable(named, unsuitable)
    if checkpoint is None:
        way_out = "start anew with --overwrite" if resume is True else "--resume alone takes the newest whole one"
        if any(half_done(path) and damage(path) is None for path in named):
            way_out = f"go on with {_processes(old)} processes"
        raise ValueError(f"--resume: no whole checkpoint to go on from: {'; '.join(lines)}; {way_out}")
    if (checkpoint / "latest").exists() != deepspeed:
        way_out = "leave the DeepSpeed launch file out" if deepspeed else "launch with the same file"
        raise ValueError(f"--resume: {checkpoint} was made with{'out' * deepspeed} DeepSpeed; {way_out}")
    lines = [f"{line}; skipped" for line in lines]
    if _made_by(checkpoint) != processes:
        lines.append(
            f"Processes: {processes} instead of {_made_by(checkpoint)}. The questions keep their order, rows are dealt "
            "and summed in another one: the result will not be bit for bit that of an uninterrupted run"
        )
    return [*lines, f"Resuming from {checkpoint}"], checkpoint


def _check_settings(folder: Path, old: dict, new: dict, deepspeed: bool) -> None:
    """ValueError when settings have changed. Processes may, without DeepSpeed, if an update stays as large."""
    changed, before, after = differences(old, new), _processes(old), _processes(new)
    if before != after and deepspeed:
        raise ValueError(
            f"--resume: {folder} was made with {before} processes, not {after}, and DeepSpeed goes on with as many "
            f"only: launch with --num_processes {before}"
        )
    if before != after:
        sizes = _effective_batch(old), _effective_batch(new)
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"--resume: {folder} made updates of {sizes[0]} completions on {before} processes; these settings make "
                f"{sizes[1]} on {after}: keep batch size x accumulation x processes"
            )
        changed = [line for line in changed if line.partition(":")[0] not in BATCH]
    if changed:
        raise ValueError(f"--resume: {folder} was made with other settings: {'; '.join(changed)}")


def _made_by(checkpoint: Path) -> int:
    """Processes that have saved their memory in it (trainers/resume.py)."""
    return len(list(checkpoint.glob("trainer_memory_*.json")))


def _processes(record: dict) -> int:
    return record.get("settings", {}).get("num_processes", 1)


def _effective_batch(record: dict) -> int:
    return math.prod(record.get("settings", {}).get(name) or 1 for name in BATCH)


def _replaced(folder: Path) -> Path:
    return Path(f"{folder}.replaced")


def discard_replaced(folder: Path) -> None:
    """Deletes what --overwrite moved out of the way: called when the new run has its model, not before."""
    if _replaced(folder).exists():
        shutil.rmtree(_replaced(folder))


def _is_empty_start(folder: Path, old: dict) -> bool:
    """Whether a run ended before it left anything: no checkpoint, no result."""
    kept = {path.name for path in folder.iterdir()} - {SETTINGS_FILE, f".{SETTINGS_FILE}.part", "README.md", STAGING}
    return not old.get("finished") and not kept


def differences(old: dict, new: dict) -> list[str]:
    """'name: old -> new' for each setting that changes what is computed."""
    before, after = dict(old.get("settings", {})), dict(new["settings"])
    before["data"], after["data"] = old.get("data", {}).get("fingerprint"), new["data"]["fingerprint"]
    before["prompt_hash"], after["prompt_hash"] = old.get("prompt", {}).get("hash"), new["prompt"]["hash"]
    # an option of other methods changes nothing; a run that is older than it does not have it
    unused = {name for name, methods in method_options().items() if after.get("mode") not in [m.name for m in methods]}
    names = sorted((set(before) | set(after)) - BOOKKEEPING - unused)
    return [f"{n}: {before.get(n)} -> {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def _read_settings(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    groups = [record.get(name, {}) for name in ("settings", "data", "prompt")]
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
