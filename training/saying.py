"""Lines of the main process: what a run says on standard output, and the one line of an error."""

from __future__ import annotations

import sys

from common.processes import is_main_process
from common.terminal import printable


def say(line: str) -> None:
    if is_main_process():
        print(printable(line), flush=True)


def say_error(line: str) -> None:
    if is_main_process():
        print(printable(f"error: {line}"), file=sys.stderr, flush=True)
