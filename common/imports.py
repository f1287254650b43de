"""What makes the start of a program short and its work polite: PyTorch, transformers and TRL as they are imported."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 100_000  # made before Python looks for garbage again

SPIN = "10000"  # rounds that a waiting thread of GNU OpenMP turns before it gives up its core; 300,000 by default


def share_cores() -> None:
    """Threads of PyTorch that wait give up their core sooner, which matters when other programs use the cores too.

    Call it before PyTorch is imported; what the user has set stays. GNU OpenMP alone reads it (PyTorch on Linux). What
    it gains: docs/speed.md.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


@contextmanager
def rare_collection() -> Iterator[None]:
    """Python looks for garbage seldom meanwhile: modules stay, and every search goes through those that are there.

    Around imports, and around what imports as it goes: preparing a run and building its model.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
