"""What the benchmarks measure and draw with: the clock, the peak of the memory, bars."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class PeakMemory:
    """Peak memory above the start: of the GPU, else of the process as a thread sees it every 5 ms."""

    def __enter__(self) -> PeakMemory:
        gc.collect()
        self.on_gpu = torch.cuda.is_available()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
            return self
        ctypes.CDLL(None).malloc_trim(0)
        self.start = self.peak = self._resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._resident())

    def __exit__(self, *exc: object) -> None:
        if self.on_gpu:
            self.peak = torch.cuda.max_memory_allocated()
            return
        self._stop.set()
        self._thread.join()

    @property
    def mebibytes(self) -> float:
        return (self.peak - self.start) / 2**20


def bar_chart(names: Sequence[str], lengths: Sequence[float], *, color: object, xlabel: str, width: float = 8):
    """A matplotlib figure and its axes: a horizontal bar a name, the first at the bottom, and a line at 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, 0.3 * len(names) + 1.2), layout="constrained")
    axes.barh(range(len(names)), lengths, color=color, label="measured", height=0.7)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(xlabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
