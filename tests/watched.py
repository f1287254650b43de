"""Runs a program of this repository and writes down what its process does: `python -m tests.watched LOG PROGRAM ARGS`.

One JSON list a line: ["connect", address], ["lookup", host], ["write", path], ["delete", path]. What a process that it
starts does is not seen here.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

WRITING = ("os.mkdir", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(log: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: str, args: tuple) -> None:
        if event == "socket.connect":
            seen = ["connect", args[1]]
        elif event == "socket.getaddrinfo":
            seen = ["lookup", args[0]]
        elif event in WRITING or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            seen = ["write", path(args[0])]
        elif event in ("os.rename", "os.link", "os.symlink"):
            seen = ["write", path(args[1])]
        elif event in ("os.remove", "os.rmdir"):
            seen = ["delete", path(args[0])]
        else:
            return
        os.write(out, (json.dumps(seen, default=str) + "\n").encode(errors="replace"))

    sys.addaudithook(note)


def path(value) -> str:
    """An absolute path; a file that is open already needs no second look."""
    return str(Path.cwd() / os.fsdecode(value)) if isinstance(value, (str, bytes, os.PathLike)) else "/dev/null"


if __name__ == "__main__":
    log, program, *rest = sys.argv[1:]
    sys.argv = [program, *rest]
    sys.path[0] = str(Path(program).parent)
    watch(log)
    runpy.run_path(program, run_name="__main__")
