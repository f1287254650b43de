"""Importing PyTorch, transformers and TRL: seconds of every start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 100_000  # made before Python looks for garbage again


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
