"""Several machines train one model, in one run folder and on the same data: found out before a model is loaded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from common.launcher import num_processes, processes_here
from common.processes import on_main_process

SECONDS = 10.0  # that a name written on one machine may take to be seen on another


def several_machines() -> bool:
    return processes_here() != num_processes()


def check_machines(folder: Path, record: dict) -> None:
    """ValueError, on every process, when one has other settings, data, weights or packages than the first (`record`:
    its training_settings.json), or does not see what the first writes into `folder`.

    The processes of one machine have one command and one disk, and nothing is asked of them.
    """
    if not several_machines():
        return
    from accelerate.utils import gather_object

    other = first_difference(gather_object([record]))
    if other:
        raise ValueError(f"{other}: all machines of a run need the same command, code, packages, data and base model")
    mark = folder / on_main_process(lambda: _make(folder))
    blind = [number for number, seen in enumerate(gather_object([_seen(mark)])) if not seen]
    on_main_process(lambda: mark.unlink(missing_ok=True))
    if blind:
        raise ValueError(
            f"--output-root: process {', '.join(map(str, blind))} of {num_processes()} does not see {folder}, which is "
            "written by process 0 on another machine; name a folder on a disk that all machines share"
        )


def first_difference(records: Sequence[dict]) -> str | None:
    """The process whose record is another than the first one's, and in what; None where there is none."""
    for number, record in enumerate(records):
        for group in ("settings", "data", "model", "versions", "code"):
            mine, first = ({**one, "code": {"commit": one.get("git_commit")}}[group] for one in (record, records[0]))
            names = sorted(name for name in {*mine, *first} if mine.get(name) != first.get(name))
            names = [name for name in names if name not in ("output_root", "source")]  # where it is on each of them
            if names:
                values = [str(one.get(names[0]))[:60] for one in (mine, first)]
                return f"process {number} has {group} {names[0]} {values[0]}, process 0 has {values[1]}"
    return None


def _make(folder: Path) -> str:
    mark = folder / f".seen-{secrets.token_hex(8)}"  # a name that no machine can have looked up and kept as missing
    mark.touch()
    return mark.name


def _seen(mark: Path) -> bool:
    end = time.monotonic() + SECONDS
    while not mark.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
