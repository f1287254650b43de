"""Hashes of weights: whether two runs, or a run and its record, have the same ones, and which file differs."""

import hashlib
from pathlib import Path

from models.registry import load_config
from models.weights import adapter_file

_WHOLE_FILE = 1 << 30  # bytes; larger files are fingerprinted by a sample of their bytes


def model_fingerprint(source: str) -> str:
    """The commit of a hub model; a hash over the configuration and weights of a folder."""
    folder = Path(source)
    if not folder.is_dir():
        return getattr(load_config(source), "_commit_hash", None) or "unknown"
    return files_fingerprint([folder / "config.json", *sorted(folder.glob("*.safetensors"))])


def weight_files(folder: Path) -> list[Path]:
    """The files that make up what main.py has trained: the adapter's two, or those of the whole model."""
    if (folder / "adapter_config.json").is_file():
        return [folder / "adapter_config.json", adapter_file(folder)]
    return [folder / "config.json", *sorted(folder.glob("*.safetensors"))]


def file_fingerprints(files: list[Path]) -> dict[str, str]:
    """Name -> fingerprint of each file by itself, so that the one that differs can be named."""
    return {file.name: files_fingerprint([file]) for file in files}


def adapter_fingerprint(folder: Path) -> str:
    return files_fingerprint([folder / "adapter_config.json", adapter_file(folder)])


def files_fingerprint(files: list[Path]) -> str:
    """First 16 hex digits of a sha256 over the files; of a file above 1 GiB, over its size and 64 pieces of it."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE_FILE:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            for piece in range(64):
                stream.seek(piece * (size - (1 << 20)) // 63)
                digest.update(stream.read(1 << 20))
    return digest.hexdigest()[:16]


def differing(known: dict, found: dict) -> list[str]:
    """The names under which two records of file fingerprints are not the same."""
    return sorted(name for name in {*known, *found} if known.get(name) != found.get(name))
