"""What the command lines of this folder share: one-line errors with exit code 2, and files that appear whole."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from common.terminal import printable


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that answers a bad flag with one line instead of the whole usage text."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str):
        self.exit(2, printable(f"error: {message} (see --help)") + "\n")


def exit_code(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """The code of `run(args)`; bad input, which raises ValueError or OSError, becomes one line on stderr and code 2."""
    try:
        return run(args)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(printable(f"error: {where}{error.strerror or error}"), file=sys.stderr)
    except ValueError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 2


def check_output(path: str | Path, inputs: list[Path] | None = None) -> Path:
    """`path`, when a file can be written there and it is none of the `inputs`; ValueError before any work is done."""
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(f"output folder {folder} does not exist: create it, or write elsewhere")
    if path.is_dir():
        raise ValueError(f"output {path} is a folder: name a file")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"output folder {folder} cannot be written to: choose another")
    if any(path.resolve() == file.resolve() for file in inputs or []):
        raise ValueError(f"output {path} is also an input: it would be overwritten, name another file")
    return path


def cell(text: str) -> str:
    """`text` as a CSV cell that a spreadsheet shows instead of computing it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def name_some(names: list[str], limit: int = 3) -> str:
    """'a, b, c and 4 more': the names a message can hold."""
    shown = ", ".join(str(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
