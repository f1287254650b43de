"""Where rows come from: the hub, a saved data set, parquet / arrow / JSON files, or a set's own file layout."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from charts import file_layouts
from charts.adapter import Adapter, Place
from charts.columns import PICTURES, holds_pictures, look_like_pictures, picture_of
from charts.images import open_image
from charts.local import SAME_SPLIT, aliases, read_local, split_named
from charts.own_columns import Columns
from charts.values import plain
from common.files import user_path

NARROW = ("float16", "float32")


@dataclass(frozen=True)
class Rows:
    """The rows of one split, images not decoded. `others` are the splits that stand beside it in the same place."""

    split: str
    columns: list[str]
    data: Any  # a datasets.Dataset or a list of dicts
    folder: Path | None = None
    others: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  # columns that look like pictures and are not read as such
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[dict]:
        features = getattr(self.data, "features", None) or {}
        classes = {name: feature.names for name, feature in features.items() if type(feature).__name__ == "ClassLabel"}
        narrow = {name: feature for name, feature in features.items() if any(one in repr(feature) for one in NARROW)}
        for row in self.data:
            for name, names in classes.items():
                row[name] = names[row[name]] if row.get(name) is not None and row[name] >= 0 else None
            for name, feature in narrow.items():
                row[name] = _as_written(row[name], feature)
            yield plain(row)

    def opener(self, index: int, stored: Any):
        """A function that opens the image of row `index`; keeps no bytes in memory."""
        if isinstance(self.data, list):
            return partial(open_image, stored, self.folder)
        return partial(_open_row, self._images, index, self.folder)

    @cached_property
    def _images(self):
        return pictures_alone(self.data)  # one view for all rows: each costs memory


def _as_written(value: Any, feature: Any) -> Any:
    """A value of a column of narrow floats, or of lists and structs of them, with the digits that were stored.

    12.1 as the nearest float32 is 12.100000381469727 as a Python float.
    """
    inner = getattr(feature, "feature", feature)  # of a list
    if isinstance(value, list):
        return [_as_written(one, inner) for one in value]
    if isinstance(value, dict):
        return {name: _as_written(one, inner[name]) for name, one in value.items()}
    if value is None or getattr(feature, "dtype", None) not in NARROW:
        return value
    return float(str(np.dtype(feature.dtype).type(value)))


def _open_row(dataset, index: int, folder: Path | None):
    return open_image(picture_of(dataset[index]), folder)


def pictures_alone(dataset):
    return dataset.select_columns([name for name in PICTURES if name in dataset.column_names])


def is_training_split(split: str) -> bool:
    return split in SAME_SPLIT[0]


def open_rows(name: str, adapter: Adapter, place: Place, split: str | None, path: str | Path | None) -> Rows:
    """The rows of `split` (None: the place's own) from `path`, or from the hub when there is none; their columns by
    the names that the adapter reads."""
    wanted = split or place.split
    columns = adapter.columns or Columns()
    if path is None:
        if place.hub_id is None:
            raise ValueError(f"{name} is not on the hub: give its local folder by --dataset-path")
        return _from_splits(_renamed(_hub(name, place), columns, name), wanted, name, None, adapter.columns is not None)
    folder = user_path(path)
    if not folder.exists():
        raise ValueError(f"--dataset-path {path}: no such file or folder")
    if adapter.layout is file_layouts.jsonl and (parts := file_layouts.divided(folder, columns)):
        return _from_parts(folder, wanted, *parts)
    if adapter.layout and folder.is_dir():
        for alias in (wanted, *aliases(wanted)):
            if (listed := adapter.layout(folder, alias)) is not None:
                return _from_layout(adapter, folder, wanted, listed, columns)
    splits = _renamed(read_local(folder, place.config), columns, str(path))
    root = folder if folder.is_dir() else folder.parent
    rows = _from_splits(splits, wanted, str(path), root, adapter.columns is not None)
    return _with_note(rows, adapter, folder) if None in splits else rows


def _renamed(splits: dict, columns: Columns, where: str) -> dict:
    return {split: columns.renamed(data, where) for split, data in splits.items()}


def _from_layout(adapter: Adapter, folder: Path, split: str, rows: Iterator[dict], columns: Columns) -> Rows:
    assert adapter.layout is not None
    others = {}
    if is_training_split(split):
        for name in ("validation", "test"):
            if (other := adapter.layout(folder, name)) is not None:
                others[name] = columns.renamed(list(other), f"{folder}, split {name},")
    return _listed(split, columns.renamed(list(rows), str(folder)), folder, others)


def _from_parts(folder: Path, split: str, training: list[dict], evaluation: list[dict], note: str) -> Rows:
    """The split's part of a file that holds the questions for training and for evaluation."""
    training_wanted = is_training_split(split)
    others = {"test": evaluation} if training_wanted and training is not evaluation else {}
    return replace(_listed(split, training if training_wanted else evaluation, folder, others), notes=[note])


def _listed(split: str, rows: list[dict], folder: Path | None, others: dict[str, Any]) -> Rows:
    columns = sorted({column for row in rows for column in row})
    return Rows(split, columns, rows, folder, others, look_like_pictures(rows))


def _from_splits(splits: dict, wanted: str, where: str, folder: Path | None, own: bool = False) -> Rows:
    name = next((name for name in (wanted, *aliases(wanted)) if name in splits), None)
    if name is None and list(splits) != [None]:
        one = f"; name one as {where}@{next(iter(splits))}" if own else ""
        raise ValueError(f"{where} has no split {wanted!r}: it has {', '.join(map(str, splits))}{one}")
    data, others = splits[name], {k: v for k, v in splits.items() if k != name}
    if isinstance(data, list):
        return _listed(wanted, data, folder, others)
    typed = [column for column, feature in data.features.items() if holds_pictures(feature) and column not in PICTURES]
    data = _undecoded(data)
    return Rows(wanted, list(data.column_names), data, folder, others, [*typed, *look_like_pictures(data)])


def _with_note(rows: Rows, adapter: Adapter, path: Path) -> Rows:
    """Said where one split without a name serves for both: nothing in it is kept for evaluation."""
    if split_named(path.stem) or not (adapter.train and adapter.evaluate):
        return rows
    return replace(rows, notes=[f"{path.name} is one split: training and evaluation on it share their questions"])


def _undecoded(dataset):
    """Images as stored bytes: hashing and skipping need no decoding. Columns of other pictures, sounds, ... are left
    out: they would be decoded with every row, whatever is in them."""
    from datasets.features.features import require_decoding

    for name in PICTURES:
        if name in dataset.features and holds_pictures(dataset.features[name]):
            dataset = dataset.cast_column(name, _as_stored(dataset.features[name]))
    return dataset.remove_columns([name for name, feature in dataset.features.items() if require_decoding(feature)])


def _as_stored(feature):
    from datasets import Image

    return type(feature)(_as_stored(feature.feature)) if hasattr(feature, "feature") else Image(decode=False)


def undecoded_images(dataset) -> Iterator[Any]:
    """The stored image of every row of a split (a data set or a list of rows) that has one."""
    rows = dataset if isinstance(dataset, list) else _undecoded(pictures_alone(dataset))
    for row in rows:
        with suppress(ValueError):  # several: no row of evaluation either
            yield picture_of(row)


def _hub(name: str, place: Place) -> dict:
    from datasets import load_dataset

    try:
        return dict(load_dataset(place.hub_id, place.config))
    except Exception as error:  # hub, network, offline mode, cache and file errors have no common base class
        line = next(iter(str(error).strip().splitlines()), "")[:200]
        reason = f"{type(error).__name__}: {line}" if line else type(error).__name__
        raise ValueError(
            f"{name}: {place.hub_id} cannot be loaded from the hub ({reason}); "
            "go online, or download it and give its folder by --dataset-path"
        ) from None
