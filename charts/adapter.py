"""What an adapter is: how a data set's rows become questions, and where its rows are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charts.own_columns import Columns

Fields = Iterator[dict]


@dataclass(frozen=True)
class Place:
    """Where a data set is on the hub, and the split to use."""

    hub_id: str | None
    split: str
    config: str | None = None


@dataclass(frozen=True)
class Adapter:
    name: str
    about: str
    read: Callable[[dict, int, int], Fields]  # (row, index, number of rows) -> fields of its questions
    train: Place | None = None  # None: evaluation only
    evaluate: Place | None = None  # None: training only
    layout: Callable[[Path, str], Iterator[dict] | None] | None = None  # rows of the set's own file layout
    needs_image: bool = True
    wanted: str = ""  # the columns it reads, for the message that says they are missing
    columns: Columns | None = None  # of a set without an adapter of its own: what the user's flags say
    prompt: str = "structured"  # what its questions are asked with where nobody says otherwise
