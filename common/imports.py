"""Importing PyTorch, transformers and TRL: seconds of every start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 100_000  # made before Python looks for garbage again; its own default is 700


@contextmanager
def rare_collection() -> Iterator[None]:
    """Python looks for garbage seldom meanwhile: modules stay, and every search goes through those that are there."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
