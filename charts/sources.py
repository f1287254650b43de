"""Where rows come from: the hub, a saved data set, parquet / arrow / JSON files, or a set's own file layout."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from charts.adapters import Adapter, Place
from charts.images import open_image

SAME_SPLIT = [
    ("train", "train_data", "training"),
    ("validation", "val", "valid", "dev", "validation_data"),
    ("test", "test_data", "testing"),
]
IMAGE = "image"
# Kinds of files that hold rows and nothing that could be run. Others are not even looked at: `datasets` would take an
# unknown kind for the name of a data set on the hub.
READERS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv"}


@dataclass(frozen=True)
class Rows:
    """The rows of one split, images not decoded. `others` are the splits that stand beside it in the same place."""

    split: str
    columns: list[str]
    data: Any  # a datasets.Dataset or a list of dicts
    folder: Path | None = None
    others: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[dict]:
        names = {
            name: feature.names
            for name, feature in (getattr(self.data, "features", None) or {}).items()
            if type(feature).__name__ == "ClassLabel"
        }
        for row in self.data:
            for name, classes in names.items():
                row[name] = classes[row[name]] if row.get(name) is not None and row[name] >= 0 else None
            yield row

    def opener(self, index: int, stored: Any):
        """A function that opens the image of row `index`; keeps no bytes in memory."""
        if isinstance(self.data, list):
            return partial(open_image, stored, self.folder)
        return partial(_open_row, self._images, index, self.folder)

    @cached_property
    def _images(self):
        return self.data.select_columns([IMAGE])  # one view for all rows: each costs memory


def _open_row(dataset, index: int, folder: Path | None):
    return open_image(dataset[index][IMAGE], folder)


def is_training_split(split: str) -> bool:
    return split in SAME_SPLIT[0]


def open_rows(name: str, adapter: Adapter, place: Place, split: str | None, path: str | Path | None) -> Rows:
    """The rows of `split` (None: the place's own) from `path`, or from the hub when there is none."""
    wanted = split or place.split
    if path is None:
        if place.hub_id is None:
            raise ValueError(f"{name} is not on the hub: give its local folder by --dataset-path")
        return _from_splits(_hub(name, place), wanted, name, None)
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ValueError(f"--dataset-path {path}: no such file or folder")
    if adapter.layout and folder.is_dir():
        for alias in (wanted, *_aliases(wanted)):
            if (rows := adapter.layout(folder, alias)) is not None:
                return _from_layout(adapter, folder, wanted, rows)
    return _from_splits(_local(folder, place.config), wanted, str(path), folder if folder.is_dir() else folder.parent)


def _from_layout(adapter: Adapter, folder: Path, split: str, rows: Iterator[dict]) -> Rows:
    rows = list(rows)
    others = {}
    if is_training_split(split):
        for name in ("validation", "test"):
            if (other := adapter.layout(folder, name)) is not None and not (folder / "questions.jsonl").is_file():
                others[name] = list(other)
    columns = sorted({column for row in rows for column in row})
    return Rows(split, columns, rows, folder, others)


def _from_splits(splits: dict, wanted: str, where: str, folder: Path | None) -> Rows:
    name = next((name for name in (wanted, *_aliases(wanted)) if name in splits), None)
    if name is None and list(splits) == [None]:
        name = None
    elif name is None:
        raise ValueError(f"{where} has no split {wanted!r}: it has {', '.join(map(str, splits))}")
    data = _undecoded(splits[name])
    return Rows(wanted, list(data.column_names), data, folder, {k: v for k, v in splits.items() if k != name})


def _aliases(split: str) -> tuple[str, ...]:
    return next((names for names in SAME_SPLIT if split in names), ())


def _undecoded(dataset):
    """Images as stored bytes: hashing and skipping need no decoding. Columns of other pictures, sounds, ... are left
    out: they would be decoded with every row, whatever is in them."""
    from datasets import Image
    from datasets.features.features import require_decoding

    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
    return dataset.remove_columns([name for name, feature in dataset.features.items() if require_decoding(feature)])


def undecoded_images(dataset) -> Iterator[Any]:
    """The stored image of every row of a split (a data set or a list of rows)."""
    if isinstance(dataset, list):
        return (row.get(IMAGE) for row in dataset)
    if IMAGE not in dataset.column_names:
        return iter(())
    return (row[IMAGE] for row in _undecoded(dataset.select_columns([IMAGE])))


def _hub(name: str, place: Place) -> dict:
    from datasets import load_dataset

    try:
        return dict(load_dataset(place.hub_id, place.config))
    except Exception as error:  # hub, network, offline mode, cache and file errors have no common base class
        reason = type(error).__name__
        raise ValueError(
            f"{name}: {place.hub_id} cannot be loaded from the hub ({reason}): "
            "go online, or download it and give its folder by --dataset-path"
        ) from None


def _local(path: Path, config: str | None) -> dict:
    if path.is_file() and path.suffix not in READERS:
        raise ValueError(f"--dataset-path {path}: give a folder or a file of {', '.join(READERS)}")
    try:
        with _quiet():
            return _read_local(path, config)
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"--dataset-path {path} holds no data set that can be read: {line[:200]}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """`datasets` without progress bars and its own lines: a local copy is read in a moment, what is wrong is raised."""
    import datasets

    shown, level = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if shown:
            datasets.enable_progress_bars()


def _read_local(path: Path, config: str | None) -> dict:
    from datasets import DatasetDict, load_dataset, load_dataset_builder, load_from_disk

    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = load_from_disk(str(path))
        splits = loaded if isinstance(loaded, DatasetDict) else {loaded.split and str(loaded.split): loaded}
        _check_files(path, [entry["filename"] for data in splits.values() for entry in data.cache_files])
        return dict(splits)
    if path.is_file():
        return {None: load_dataset(READERS[path.suffix], data_files=str(path), split="train")}
    builder = load_dataset_builder(str(path), _config(path, config))
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in READERS.values() and reader != "imagefolder":
        raise ValueError(f"its files are of the kind {reader}, which is not read")
    _check_files(path, [file for files in (builder.config.data_files or {}).values() for file in files])
    builder.download_and_prepare()
    return dict(builder.as_dataset())


def _check_files(folder: Path, files: list) -> None:
    """ValueError when what the data set says of itself leads to files outside its folder, or to another machine."""
    for file in map(str, files):
        if "://" in file or not Path(os.path.normpath(file)).is_relative_to(os.path.normpath(folder.absolute())):
            raise ValueError(f"it names {file!r}, which is not in its folder")


def _config(path: Path, config: str | None) -> str | None:
    from datasets import get_dataset_config_names

    return config if config and config in get_dataset_config_names(str(path)) else None
