"""The folder of a run: its name, what happens when it exists, and the settings file saved in it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from charts.prompt import prompt_hash

SETTINGS_FILE = "training_settings.json"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "numpy")
# Settings that say where and how a run is kept, not what it computes.
BOOKKEEPING = {
    "resume", "overwrite", "output_root", "config", "explicit", "report_to", "wandb_online", "log_completions",
    "save_steps", "save_total_limit", "estimate",
}  # fmt: skip


def run_folder(root: str, vlm_name: str, mode: str, seed: int) -> Path:
    """<root>/<vlm>-prm-large-train-v2[-<mode>]-<seed>, the guides' name; no mode for grpo."""
    path = Path(vlm_name)
    name = path.resolve().name if path.is_dir() else vlm_name.replace("/", "--")
    middle = "" if mode == "grpo" else f"-{mode}"
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
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / SETTINGS_FILE)


def prepare_folder(folder: Path, record: dict, *, resume: bool, overwrite: bool) -> list[str]:
    """Makes `folder` ready for a run with these settings, on one process. Returns lines to print.

    A finished run made with other settings is set aside as <folder>.1 (.2, ...). ValueError when the folder holds a
    finished run with the same settings or an unfinished one and neither flag is given, when --resume finds nothing to
    continue or other settings, and when the folder cannot be written.
    """
    try:
        return _prepare(folder, record, resume=resume, overwrite=overwrite)
    except OSError as error:
        raise ValueError(f"--output-root: cannot write to {folder}: {error.strerror}") from None


def _prepare(folder: Path, record: dict, *, resume: bool, overwrite: bool) -> list[str]:
    lines = []
    if folder.exists() and any(folder.iterdir()):
        old = _read_settings(folder)
        changed = differences(old, record) if old else []
        if old is None:
            raise ValueError(f"{folder} has no readable {SETTINGS_FILE}, so it is no run of this program; move it away")
        if _is_empty_start(folder, old):
            shutil.rmtree(folder)
        elif overwrite:
            discard_replaced(folder)
            folder.rename(_replaced(folder))
            lines.append(f"Replacing the old {folder}; it is deleted once the new model is loaded")
        elif resume:
            _check_resumable(folder, old, changed)
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
    write_settings(folder, record)
    return lines


def _check_resumable(folder: Path, old: dict, changed: list[str]) -> None:
    if old.get("finished"):
        raise ValueError(f"--resume: the run in {folder} is finished; start anew with --overwrite")
    if changed:
        raise ValueError(f"--resume: {folder} was made with other settings: {'; '.join(changed)}")
    if newest_checkpoint(folder) is None:
        raise ValueError(f"--resume: {folder} has no whole checkpoint; start anew with --overwrite")


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps that is whole: trainer_state.json is what the Trainer writes last."""
    whole = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _replaced(folder: Path) -> Path:
    return Path(f"{folder}.replaced")


def discard_replaced(folder: Path) -> None:
    """Deletes what --overwrite moved out of the way: called when the new run has its model, not before."""
    if _replaced(folder).exists():
        shutil.rmtree(_replaced(folder))


def _is_empty_start(folder: Path, old: dict) -> bool:
    """Whether a run ended before it left anything: no checkpoint, no result."""
    kept = {path.name for path in folder.iterdir()} - {SETTINGS_FILE, "README.md"}
    return not old.get("finished") and not kept


def differences(old: dict, new: dict) -> list[str]:
    """'name: old -> new' for each setting that changes what is computed."""
    before, after = dict(old.get("settings", {})), dict(new["settings"])
    before["data"], after["data"] = old.get("data", {}).get("fingerprint"), new["data"]["fingerprint"]
    before["prompt_hash"], after["prompt_hash"] = old.get("prompt", {}).get("hash"), new["prompt"]["hash"]
    names = sorted((set(before) | set(after)) - BOOKKEEPING)
    return [f"{n}: {before.get(n)} -> {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def _read_settings(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


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
