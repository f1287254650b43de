"""A local copy: what was saved by `save_to_disk`, parquet and arrow files, or text files, with or without pictures."""

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from charts.columns import PICTURES
from charts.text_files import TEXT_SUFFIXES, BadText, read_rows

SAME_SPLIT = [
    ("train", "train_data", "training"),
    ("validation", "val", "valid", "dev", "validation_data"),
    ("test", "test_data", "testing"),
]
# Kinds of files that hold rows and nothing that could be run. Others are not even looked at: `datasets` would take an
# unknown kind for the name of a data set on the hub.
READERS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow"}
KINDS = (*READERS, *TEXT_SUFFIXES)


def aliases(split: str) -> tuple[str, ...]:
    """All names of this split, its own among them."""
    return next((names for names in SAME_SPLIT if split in names), (split,))


def split_named(stem: str) -> str | None:
    """The split that a file's name has among its words."""
    words = set(re.split(r"[^a-z]+", stem.lower()))
    return next((names[0] for names in SAME_SPLIT if words & set(names)), None)


def read_local(path: Path, config: str | None) -> dict[str | None, Any]:
    """The splits of a file or folder: data sets, or lists of rows. `ValueError` for what holds none."""
    if path.is_file() and path.suffix not in KINDS:
        raise ValueError(f"--dataset-path {path}: give a folder or a file of {', '.join(KINDS)}")
    try:
        with _quiet():
            return _read_local(path, config)
    except BadText:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"--dataset-path {path} holds no data set that can be read: {line[:200]}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """`datasets` without progress bars and log lines: a local copy is read quickly, and errors are raised."""
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

    if path.is_dir():  # `datasets` names files by where a link leads, and a data set by its folder: "." has no name
        path = path.resolve()
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = load_from_disk(str(path))
        splits = loaded if isinstance(loaded, DatasetDict) else {loaded.split and str(loaded.split): loaded}
        _check_files(path, [entry["filename"] for data in splits.values() for entry in data.cache_files])
        return dict(splits)
    if path.is_file():
        if path.suffix in TEXT_SUFFIXES:
            return {None: read_rows(path)}
        return {None: load_dataset(READERS[path.suffix], data_files=glob.escape(str(path)), split="train")}
    if glob.escape(str(path)) != str(path):
        raise ValueError("datasets takes [, * and ? in a folder's name for a pattern: rename it, or give a file in it")
    builder = load_dataset_builder(str(path), _config(path, config))
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in ("parquet", "arrow", "json", "csv", "imagefolder"):
        raise ValueError(f"its files are of the kind {reader}, which is not read")
    files = {str(split): list(map(str, files)) for split, files in (builder.config.data_files or {}).items()}
    _check_files(path, [file for names in files.values() for file in names])
    if reader == "imagefolder" and (tables := _by_split(sorted(path.rglob("*.parquet")))):
        names = {split: [glob.escape(str(file)) for file in found] for split, found in tables.items()}
        return dict(load_dataset("parquet", data_files=names))
    if reader in ("json", "csv", "imagefolder") and (splits := _text_splits(path, reader, files)):
        return splits
    builder.download_and_prepare()
    return _if_named(dict(builder.as_dataset()), list(chain(*files.values())), path)


def _if_named(splits: dict, files: list, folder: Path) -> dict:
    """`datasets` calls a single file without a split's name "train": here it is a split without a name."""
    nameless = len(files) == 1 and not split_named(str(Path(files[0]).relative_to(folder).with_suffix("")))
    return {None: next(iter(splits.values()))} if nameless else splits


def _text_splits(folder: Path, reader: str, files: dict[str, list[str]]) -> dict:
    """The rows of each split's text files, {} where `datasets` is to read the folder."""
    if reader != "imagefolder" and any(Path(name).suffix not in TEXT_SUFFIXES for name in chain(*files.values())):
        return {}
    texts = {split: found for split, names in files.items() if (found := _texts(names))}
    if reader == "imagefolder" and not texts:
        texts = _by_split(one for one in _texts(folder.iterdir()) if one.stem not in ("dataset_info", "dataset_infos"))
    rows = {key: [_beside(one, folder, row) for one in found for row in read_rows(one)] for key, found in texts.items()}
    if len(files) > 1 and [file.stem for file in chain(*texts.values())] == ["metadata"]:
        return _by_picture(folder, next(iter(rows.values())), files)
    return _if_named(rows, list(chain(*texts.values())), folder)


def _by_picture(folder: Path, rows: list[dict], files: dict[str, list[str]]) -> dict[str, list[dict]]:
    """The rows of one metadata file above the folders of several splits: each goes where its picture is, and to the
    first split, to be refused there, when it is nowhere."""
    places = {name: split for split, names in files.items() for name in names}
    splits: dict[str, list[dict]] = {split: [] for split in files}
    for row in rows:
        splits[places.get(str(folder / str(row.get("image"))), next(iter(files)))].append(row)
    return splits


def _texts(files: Iterable[str | Path]) -> list[Path]:
    return sorted(path for path in map(Path, files) if path.suffix in TEXT_SUFFIXES)


def _by_split(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Text files or tables beside more pictures, by the split in their names: `datasets` sees the pictures only."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_named(file.stem) or "train", []).append(file)
    return splits


def _beside(file: Path, folder: Path, row: dict) -> dict:
    """The row with its picture by path inside `folder`: the `file_name` of an image folder's metadata is meant from
    where the metadata stands."""
    if not isinstance(row.get("file_name"), str) or any(row.get(name) for name in PICTURES):
        return row
    picture = file.parent.relative_to(folder) / row["file_name"]
    return {**{k: v for k, v in row.items() if k != "file_name"}, "image": str(picture)}


def _check_files(folder: Path, files: list) -> None:
    """ValueError when the data set's own description names files outside its folder or on another machine.

    A link inside the folder is the user's own, as in the hub's cache, whose files all are links.
    """
    for file in map(str, files):
        if "://" in file or not Path(os.path.normpath(file)).is_relative_to(folder):
            raise ValueError(f"it names {file!r}, which is not in its folder")


def _config(path: Path, config: str | None) -> str | None:
    from datasets import get_dataset_config_names

    return config if config and config in get_dataset_config_names(str(path)) else None
