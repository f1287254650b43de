"""The journal of a sampling job: a header, then one line per finished problem, on disk before other problems start.

    samples_nsr.json.journal          one process
    samples_nsr.json.journal-1-of-3   one shard of three

The header holds all settings of the job. The same command again reads every part and goes on with what is missing;
other settings are refused with the difference shown. A last line torn by a crash is cut off. When all problems are
there the parts become the final file, which appears by renaming, and the parts are deleted.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import flush, lock, write_whole

# a moved folder, a new package version, another address of the same model and another name of the same questions do not
# make another run
_UNHASHED = {"run", "checkpoint", "versions", "server", "asked"}


def run_hash(settings: dict[str, Any]) -> str:
    """16 hex digits over all settings but paths and package versions; of a model, its weights in place of its name."""
    hashed = {name: value for name, value in settings.items() if name not in _UNHASHED}
    if _weights_known(settings["model"]):
        hashed["model"] = {name: value for name, value in settings["model"].items() if name != "name"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _weights_known(model: dict[str, Any]) -> bool:
    return model.get("fingerprint", "unknown") != "unknown"


def _same_weights(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two records of a model have known weights, the same ones: a folder that has moved has another name."""
    return _weights_known(new) and old.get("fingerprint") == new["fingerprint"]


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """'sampling.temperature: 1.0 -> 0.7' for every setting that belongs to the run."""
    lines = []
    for name in sorted(set(old) | set(new)):
        if (not prefix and name in _UNHASHED) or (f"{prefix}{name}" == "model.name" and _same_weights(old, new)):
            continue
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name}: {before} -> {after}")
    return lines


@dataclass
class Part:
    """One journal file as read: its header and the raw lines of its finished problems."""

    path: Path
    settings: dict[str, Any]
    lines: dict[str, bytes]  # problem id -> line, as in the final file
    intact: int  # bytes up to the end of the last whole line


def read_part(path: Path) -> Part | None:
    """The part at `path`, without a torn last line; None when not even the header is whole, or the file is gone."""
    settings, lines, intact = None, {}, 0
    try:
        stream = path.open("rb")
    except FileNotFoundError:  # another shard has merged and deleted it just now
        return None
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break  # torn by a crash, or being written by another shard
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict) or not isinstance(entry.get("problem_id", ""), str):
                raise ValueError(f"journal {path} is damaged in line {number}: move it away and start again") from None
            if not isinstance(entry.get("settings"), dict) if number == 1 else "problem_id" not in entry:
                raise ValueError(f"{path} is not a journal of this program: move it away")
            if number == 1:
                settings = entry["settings"]
            elif entry["problem_id"] in lines:
                raise ValueError(f"journal {path} holds problem {entry['problem_id']} twice: move it away")
            else:
                lines[entry["problem_id"]] = line.rstrip(b"\n")
            intact += len(line)
    return None if settings is None else Part(path, settings, lines, intact)


def part_path(output: Path, shard: tuple[int, int]) -> Path:
    index, count = shard
    return output.with_name(f"{output.name}.journal" + (f"-{index}-of-{count}" if count > 1 else ""))


def part_paths(output: Path) -> list[Path]:
    stem = f"{output.name}.journal"
    return sorted(p for p in output.parent.iterdir() if p.name == stem or p.name.startswith(f"{stem}-"))


def read_parts(output: Path, settings: dict[str, Any]) -> list[Part]:
    """All parts of the job; ValueError when one was written with other settings."""
    parts = [part for path in part_paths(output) if (part := read_part(path)) is not None]
    for part in parts:
        changed = differences(part.settings, settings)
        if changed:
            raise ValueError(
                f"{part.path} was begun with other settings: {'; '.join(changed)}. Finish it with those, or discard it "
                "with --overwrite"
            )
    return parts


class Journal:
    """The part that this process writes. Holds a lock on it: two processes never write the same part."""

    def __init__(self, path: Path, settings: dict[str, Any]):
        self._stream = path.open("ab+")
        if not lock(self._stream, wait=False):
            self._stream.close()
            raise ValueError(f"{path} is being written by another process: wait for it, or give each its --shard")
        try:
            part = read_part(path)
            self._stream.truncate(part.intact if part else 0)
            if part is None:
                self.add(json.dumps({"settings": settings}, ensure_ascii=False).encode())
                flush(path.parent)
        except BaseException:
            self._stream.close()
            raise

    def add(self, line: bytes) -> None:
        """Write one finished problem and wait until it is on disk."""
        self._stream.write(line + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()


def merge(output: Path, settings: dict[str, Any], problem_ids: list[str]) -> list[str]:
    """Write the final file once every problem is in some part; returns the ids still missing.

    Checked: same settings in every part, no foreign problem, each problem once (or twice with the same line).
    """
    with folder_lock(output.parent):
        parts = read_parts(output, settings)
        lines: dict[str, bytes] = {}
        for part in parts:
            for problem_id, line in part.lines.items():
                if lines.setdefault(problem_id, line) != line:
                    raise ValueError(
                        f"problem {problem_id} differs between the parts of {output}: move {part.path} away"
                    )
        foreign = set(lines) - set(problem_ids)
        if foreign:
            raise ValueError(f"the parts of {output} hold problems that the data does not: {sorted(foreign)[:3]}")
        missing = [problem_id for problem_id in problem_ids if problem_id not in lines]
        if missing and not parts and same_run(output, settings):
            return []  # another shard has merged just now
        if not missing:
            write_final(output, settings, [lines[problem_id] for problem_id in problem_ids])
            for part in parts:
                part.path.unlink()
        return missing


def write_final(output: Path, settings: dict[str, Any], lines: list[bytes]) -> None:
    """The samples file and, beside a .json, its settings; each appears whole, the samples last."""
    if output.suffix == ".jsonl":
        head = json.dumps({"settings": settings}, ensure_ascii=False).encode()
        content = b"".join(line + b"\n" for line in (head, *lines))
    else:
        write_whole(settings_path(output), (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())
        content = b"[\n" + b",\n".join(lines) + b"\n]\n"
    write_whole(output, content)


def read_finished(output: Path) -> Part | None:
    """A finished samples file in the form of a journal; None when there is none. ValueError when it is no such file."""
    if not output.exists():
        return None
    try:
        if output.suffix == ".jsonl":
            part = read_part(output)
            if part is None:
                raise ValueError
        else:
            entries = json.loads(output.read_text(encoding="utf-8"))
            lines = {entry["problem_id"]: json.dumps(entry, ensure_ascii=False).encode() for entry in entries}
            settings = json.loads(settings_path(output).read_text(encoding="utf-8"))
            part = Part(output, settings, lines, output.stat().st_size)
        runs = {json.loads(line)["run"] for line in part.lines.values()}
        if runs != {part.settings["run"]} or type(part.settings["sampling"]["num_samples"]) is not int:
            raise ValueError
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"--output-path {output} is finished already, and is no samples file with its settings, so nothing can be "
            "added to it: name another file, or give --overwrite, which deletes it"
        ) from None
    return part


def same_run(output: Path, settings: dict[str, Any]) -> bool:
    """Whether the finished file at `output` has these settings."""
    try:
        part = read_finished(output)
    except ValueError:
        return False
    return part is not None and not differences(part.settings, settings)


def settings_path(output: Path) -> Path:
    return output.with_name(f"{output.stem}.settings.json")


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time decides about the files of a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
