"""Before PyTorch, transformers and TRL are imported, and while they are: seconds of every start."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 100_000  # made before Python looks for garbage again; its own default is 700

# Turns of a thread of OpenMP that waits for the others, before it leaves its core to somebody else; 300,000 by default.
SPIN = "10000"


def share_cores() -> None:
    """On a machine that has other work, threads of PyTorch do not wait for each other on the cores that they wait for.

    With a core less than threads, a decoding step is otherwise up to sixty times as slow. Before PyTorch is imported;
    what the user has set stays. GNU OpenMP, which PyTorch brings on Linux.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


@contextmanager
def rare_collection() -> Iterator[None]:
    """Python looks for garbage seldom meanwhile: modules stay, and every search goes through those that are there."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
