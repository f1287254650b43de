"""What --dataset-name names: a set that has an adapter, or any other on the hub or in a file or folder.

chartqa | chartqa@val | org/set | org/set:config@split | data/rows.jsonl | data/folder@validation
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from charts.adapter import Adapter, Place
from charts.adapters import ADAPTERS
from charts.drawn import DRAWN
from charts.local import KINDS, SAME_SPLIT
from charts.own_columns import Columns
from common.files import user_path

DATASETS = {
    **{name: drawn.about for name, drawn in DRAWN.items()},
    **{name: adapter.about for name, adapter in ADAPTERS.items()},
}
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w.-]+))?")


@dataclass(frozen=True)
class Named:
    """A data set, found by its name. `own` is the adapter of a set that has none of its own."""

    name: str
    split: str | None
    path: str | Path | None
    own: Adapter | None = None


def find_set(name: str, split: str | None, path: str | Path | None, columns: Columns | None = None) -> Named:
    """The set that `name` names, with its split and its place. ValueError, one line, for a name that leads nowhere."""
    columns = columns or Columns()
    base, at, given = name.rpartition("@")
    if not at or user_path(name).exists():
        base, given = name, ""
    if not base or path == "":  # a variable of the shell that is not set
        raise ValueError(f"--dataset-{'path' if base else 'name'} is empty: name a data set, a file or a folder")
    if given and split not in (None, given):
        raise ValueError(f"--dataset-name {name} and --split {split} name two splits; leave one of them out")
    split = split or given or None
    if base in DATASETS:
        if base != "custom" and columns.flags():
            raise ValueError(f"{columns.flags()[0]} is for a set without an adapter, and {base} has one; leave it out")
        return Named(base, split, path, _own(base, None, None, columns) if columns.flags() else None)
    if path is not None:
        raise _unknown(name, f"; or give the place by --dataset-name {path} alone")
    if (place := user_path(base)).exists():
        place = place.resolve()
        own_name = place.stem if place.is_file() else place.name
        return Named(own_name, split, place, _own(own_name, None, None, columns))
    hub = _HUB_ID.fullmatch(base)
    if not hub or Path(base).suffix in KINDS:
        raise _unknown(name)
    return Named(hub[1], split, None, _own(hub[1], hub[1], hub[2], columns))


def has_adapter(name: str) -> bool:
    return name in DATASETS or name.rpartition("@")[0] in DATASETS


def is_drawn(name: str) -> bool:
    """Whether its charts are drawn to order, as many as are asked for."""
    return name in DRAWN or name.rpartition("@")[0] in DRAWN


def without_split(name: str) -> str:
    """The name, without the @split behind it."""
    return name if user_path(name).exists() else name.rpartition("@")[0] or name


def is_here(name: str, path: str | Path | None) -> bool:
    """Whether reading the set needs no hub: it is drawn, or a file or folder."""
    base = name.rpartition("@")[0] or name
    if has_adapter(name):
        return path is not None or is_drawn(name)
    return any(user_path(one).exists() for one in (name, base))


def same_set(one: str, other: str) -> bool:
    """Whether both names mean one set, whichever split of it: a file or folder may be named in several ways."""
    names = [without_split(name) for name in (one, other)]
    places = [name if has_adapter(name) else user_path(name).resolve() for name in names]
    return names[0] == names[1] or places[0] == places[1]


def file_name(name: str) -> str:
    """The name as a part of a file's name: org/set@split is org-set-split."""
    base = Path(name).name if user_path(name).exists() else name
    return re.sub(r"[^\w.-]+", "-", base).strip("-.") or "data"


def is_for_evaluation(split: str) -> bool:
    return any(split in names for names in SAME_SPLIT[1:])


def _own(name: str, hub_id: str | None, config: str | None, columns: Columns) -> Adapter:
    """`custom`'s adapter with the user's columns, for rows that lie on the hub or here."""
    custom = ADAPTERS["custom"]
    return replace(
        custom,
        name=name,
        read=partial(_read, columns),
        train=Place(hub_id, "train", config),
        evaluate=Place(hub_id, "test", config),
        columns=columns,
    )


def _read(columns: Columns, row: dict, index: int, rows: int):
    return ADAPTERS["custom"].read(columns.completed(row), index, rows)


def _unknown(name: str, more: str = "") -> ValueError:
    close = "".join(f" did you mean {one}?" for one in get_close_matches(name, DATASETS, 1))
    return ValueError(
        f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}, a set of the hub (org/set@split), or a file "
        f"or folder that is there{more};{close}".removesuffix(";")
    )
