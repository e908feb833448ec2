"""Loading libraries without looking for garbage meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Inside the block Python does not look for cycles of garbage.

    What modules make while they load mostly stays, and is looked at again and again: a quarter of the time that TensorFlow
    takes to load.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():
                # Into the oldest generation, which the next looks pass by.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
