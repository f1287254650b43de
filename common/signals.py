"""SIGINT, SIGTERM and SIGHUP: installed, received and told apart here; what each of them ends is said by a subclass."""

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from common.launcher import launched

# A launcher passes a Ctrl-C on to processes that the terminal has sent it to already.
SAME_SIGNAL_SECONDS = 3.0


def stop_signals() -> tuple[int, ...]:
    """The signals that ask a program to end: SIGHUP, of a terminal that closes, unless nohup has it ignored."""
    asked = (signal.SIGINT, signal.SIGTERM)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)


def say_from_handler(line: str) -> None:
    """A line on stderr, from the handler of a signal: past the buffer, which may be in use, and never an error."""
    with suppress(OSError, ValueError, AttributeError):  # closed, gone, or none at all
        os.write(sys.stderr.fileno(), f"\n{line}\n".encode(errors="backslashreplace"))


class SignalReceiver(ABC):
    """While used as a context, the first signal calls `on_first` and a second one `on_second`.

    A terminal that closes sends several SIGHUP, which count as one.
    """

    received: int | None = None
    _since = 0.0

    def __enter__(self):
        self._before = {number: signal.signal(number, self._receive) for number in stop_signals()}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            self.on_first(number)
        elif number != signal.SIGHUP and not (launched() and time.monotonic() - self._since < SAME_SIGNAL_SECONDS):
            self.on_second(number)

    @abstractmethod
    def on_first(self, number: int) -> None: ...

    @abstractmethod
    def on_second(self, number: int) -> None: ...


class Stopped(KeyboardInterrupt):
    """A KeyboardInterrupt, so that no library on the way takes it for an error of its own."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


class StopSignals(SignalReceiver):
    """The first signal is noted inside `finishing()` and raises `Stopped` elsewhere; a second one raises it at once."""

    _busy = False

    def on_first(self, number: int) -> None:
        if not self._busy:
            raise Stopped(number)
        say_from_handler("Finishing the problems in work; once more to stop at once")

    def on_second(self, number: int) -> None:
        raise Stopped(number)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """What happens inside is finished before a signal takes effect."""
        self._busy = True
        yield
        self._busy = False
        if self.received is not None:
            raise Stopped(self.received)
