"""Weights from safetensors files only, checked before a model is loaded.

The other kind, pickles (pytorch_model.bin, adapter_model.bin), can run any code while they are read. They are never
opened.
"""

from __future__ import annotations

import json
from pathlib import Path

ADAPTER = "adapter_model.safetensors"
MODEL = "model.safetensors"
WAY_OUT = "a pickle can run code and is never read: where you trust it, save it again as safetensors"


def model_files(folder: Path) -> list[Path]:
    """The files of a full model's weights; ValueError when there are none or one that is named is missing."""
    index = folder / f"{MODEL}.index.json"
    if (folder / MODEL).is_file():
        return [folder / MODEL]
    if not index.is_file():
        raise ValueError(f"model folder {folder} holds no {MODEL}{_pickles(folder)}")
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{index} is damaged: copy it again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{index} names {name!r}, which is no file of its folder: copy the folder whole")
    return sorted(folder / name for name in names)


def adapter_file(folder: Path) -> Path:
    """The file of a LoRA adapter's weights; ValueError when it is missing."""
    if not (folder / ADAPTER).is_file():
        raise ValueError(f"{folder} holds adapter_config.json but no {ADAPTER}{_pickles(folder)}")
    return folder / ADAPTER


def _pickles(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt"))
    found = [name for name in found if "model" in name]
    return f" but {found[0]}: {WAY_OUT}" if found else ": copy it whole"


def shapes(file: Path) -> dict[str, list[int]]:
    """Name -> shape of every tensor; ValueError unless the header is right and the file as long as it says."""
    from safetensors import safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except Exception:  # SafetensorError is no ValueError
        raise ValueError(f"{file} is not a readable safetensors file: copy it again") from None


def check_model_weights(source: str) -> None:
    """ValueError when `source` is a folder without whole safetensors weights; a hub model is checked when it loads."""
    if Path(source).is_dir():
        for file in model_files(Path(source)):
            shapes(file)
