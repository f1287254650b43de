"""The user's own functions: found by path or module, run once, and told apart by a hash of their code."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from common.files import user_path

ROOT = Path(__file__).resolve().parent.parent
FORMS = "path/to/file.py:function or package.module:function"


@cache
def load(flag: str, place: str) -> tuple[Callable, str]:
    """The function that `place` names, and the hash of the files that it is in; the same until `forget` is called.

    ValueError, one line that begins with the flag and the place, when there is none.
    """
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise ValueError(f"{flag} {place or 'is missing'}: name a function, as {FORMS}")
    path = user_path(where)
    is_file = path.suffix == ".py" or "/" in where
    if is_file and not path.is_file():
        raise ValueError(f"{flag} {place}: there is no file {where}")
    try:
        module = _run(path.resolve()) if is_file else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        way_out = "; a module is looked for where Python looks (PYTHONPATH), a file is named with .py"
        raise ValueError(f"{flag} {place}: importing {where} raised {told(error)}{way_out * (not is_file)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not isinstance(value, type)]
        there = sorted(key for key in functions if key[0] != "_")
        kind = type(function).__name__
        what = f"has no function '{name}'" if function is None else f"'{name}' is a {kind}, no function"
        raise ValueError(f"{flag} {place}: {where} {what}; it has {', '.join(there[:8]) or 'none'}")
    code = getattr(function, "__code__", None)
    files = {file for file in (getattr(module, "__file__", None), code and code.co_filename) if file}
    contents = b"".join(Path(file).read_bytes() for file in sorted(files) if Path(file).is_file())
    if not contents:
        raise ValueError(f"{flag} {place}: is in no file whose content could be told from another's")
    return function, hashlib.sha256(contents).hexdigest()


def forget() -> None:
    """A file that has changed since is read again: not amid a run, whose record holds the hash of what it trains on."""
    load.cache_clear()
    _run.cache_clear()


@cache
def _run(path: Path) -> ModuleType:
    """The module of a file, run once for all functions that are taken from it."""
    name = f"own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("the name of a file with Python code ends in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def told(error: BaseException) -> str:
    """The error and the line of the user's code that it comes from, in one line."""
    ours = {ROOT / room for room in ("common", "rewards", "trainers")}  # they call that code
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[0] != "<"]
    frames = [frame for frame in frames if Path(frame.filename).resolve().parent not in ours]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300] + place
