"""Lines of the main process: what a run says on standard output, and the one line of an error."""

from __future__ import annotations

import sys
from typing import TextIO

from common.processes import is_main_process
from common.terminal import printable


def say(line: str, stream: TextIO | None = None) -> None:
    if is_main_process():
        print(printable(line), file=stream, flush=True)


def say_error(line: str) -> None:
    say(f"error: {line}", sys.stderr)
