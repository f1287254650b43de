"""SIGINT, SIGTERM and SIGHUP: the problems in work are finished and written first, everything else stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from common.terminal import stop_signals, tell_from_handler


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
        self._before = {number: signal.signal(number, self._note) for number in stop_signals()}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        again, self.received = self.received is not None, self.received or number
        if again and number == signal.SIGHUP:  # a terminal that closes sends several
            return
        if again or not self._busy:
            raise Stopped(number)
        tell_from_handler("Finishing the problems in work; once more to stop at once")

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """What happens inside is finished before a signal takes effect."""
        self._busy = True
        yield
        self._busy = False
        if self.received is not None:
            raise Stopped(self.received)
