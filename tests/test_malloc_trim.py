"""Free memory goes back to the system: otherwise a long run's resident memory says nothing about leaks."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from training.malloc_trim import give_back_free_memory

BLOCKS, SIZE = 1000, 64 * 1024  # below the size that glibc maps on its own
GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not GLIBC, reason="malloc_trim is glibc's")
def test_pages_that_are_free_below_a_used_one_are_given_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks[:-1]:  # the last one holds the top of the heap
        libc.free(block)
    before = resident()
    give_back_free_memory()
    given = before - resident()
    libc.free(blocks[-1])
    assert given > 0.8 * BLOCKS * SIZE


def test_a_run_does_so_after_every_update(tmp_path, monkeypatch):
    import main
    from training import malloc_trim

    calls = []
    monkeypatch.setattr(malloc_trim, "give_back_free_memory", lambda: calls.append(1))
    line = "--mode nsr --subset-size 6 --max-steps 3 --max-completion-length 4 --num-generations 2 --held-out 0"
    assert main.main([*line.split(), "--report-to", "none", "--output-root", str(tmp_path)]) == 0
    assert len(calls) == 3
