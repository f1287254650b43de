"""One line on the terminal: problems done, time left, samples per second, running Pass@1, truncation rate."""

import json
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


class Progress:
    def __init__(self, total: int, finished: Iterable[bytes] = ()):
        self.samples = self.correct = self.truncated = self.unreadable = 0
        self._fresh, self._started = 0, time.monotonic()
        done = [json.loads(line) for line in finished]
        for entry in done:
            self._count(entry)
        terminal = sys.stderr.isatty()
        width = {"dynamic_ncols": terminal, "mininterval": 0.2 if terminal else 15.0}
        self._bar = tqdm(total=total, initial=len(done), unit="problem", file=sys.stderr, **width)

    def _count(self, entry: dict[str, Any]) -> None:
        self.unreadable += "error" in entry
        self.samples += entry.get("num_total", 0)
        self.correct += entry.get("num_correct", 0)
        self.truncated += sum(entry.get("truncated", ()))

    def add(self, entry: dict[str, Any], before: int = 0) -> None:
        """One more problem; `before` of its samples were drawn by an earlier job."""
        self._count(entry)
        self._fresh += entry.get("num_total", 0) - before
        self._bar.set_postfix_str(self.summary(), refresh=False)
        self._bar.update()

    def summary(self) -> str:
        rate = self._fresh / max(time.monotonic() - self._started, 1e-9)
        shown = [f"{rate:.1f} samples/s"]
        if self.samples:
            shown += [f"Pass@1 {self.correct / self.samples:.2%}", f"truncated {self.truncated / self.samples:.1%}"]
        if self.unreadable:
            shown.append(f"{self.unreadable} unreadable")
        return ", ".join(shown)

    def close(self) -> None:
        self._bar.close()
