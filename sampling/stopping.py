"""SIGINT and SIGTERM: the problems in work are finished and written first, everything else stops at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """A KeyboardInterrupt, so that no library on the way takes it for an error of its own."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


class StopSignals:
    """While used as a context, the first signal is noted inside `finishing()` and raises `Stopped` elsewhere."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._busy = False

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None or not self._busy:
            raise Stopped(number)
        self.received = number
        print("\nFinishing the problems in work; once more to stop at once", file=sys.stderr, flush=True)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """What happens inside is finished before a signal takes effect."""
        self._busy = True
        yield
        self._busy = False
        if self.received is not None:
            raise Stopped(self.received)
