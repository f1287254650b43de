"""Files and folders that appear whole: written beside their place, flushed to the disk, renamed; and locks on them."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO


def user_path(name: str | Path) -> Path:
    """The path that `name` means, with ~ for a home; ~ and an unknown user, at which Path.expanduser raises, stays."""
    return Path(os.path.expanduser(name))  # noqa: PTH111


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The name of a file to write, which becomes `path` when all of it is there: readers see the old file or the new.

    A full disk, an error and a crash leave the old one. OSError when it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # two machines may write one file
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """`content` as a whole file; characters that no text file can hold (halves of a surrogate pair) are escaped."""
    with whole_file(path) as partial:
        partial.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The name of a folder to make and fill, which becomes `path` when all of it is there, in place of what was.

    An error and a crash leave the old one.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a crash
    try:
        yield partial
        replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(written: Path, final: Path) -> None:
    """Flushes the folder `written` to the disk and makes it `final`, in place of what is there; on one file system."""
    for path in sorted(written.rglob("*")):
        flush(path)
    flush(written)
    replaced = written.with_name(f".{final.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    written.rename(final)
    flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def flush(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(path: Path, name: str) -> Path:
    """`path`, made where it is missing, when files can be written into it; ValueError before any work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ValueError(f"{name} {path}: {error.strerror}; name a folder that can be written to") from None


def lock(opened: int | BinaryIO, *, wait: bool) -> bool:
    """Locks an open file or folder until it is closed; False when another process holds it and `wait` is not set.

    A file system that cannot lock it (NFS) protects nothing, as it would not without the lock.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def check_output(path: str | Path, inputs: list[Path] | None = None, name: str = "output") -> Path:
    """`path`, when a file can be written there and it is none of the `inputs`; ValueError before any work is done.

    `name` is what the message calls it, such as its flag.
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(f"{name} folder {folder} does not exist: create it, or write elsewhere")
    if path.is_dir():
        raise ValueError(f"{name} {path} is a folder: name a file")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{name} folder {folder} cannot be written to: choose another")
    if any(path.resolve() == file.resolve() for file in inputs or []):
        raise ValueError(f"{name} {path} is also an input: it would be overwritten, name another file")
    return path
