"""Looking for cycles of garbage less often than Python does: not while libraries load, and seldom in a process of our own."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Containers made since the last look, and younger looks for each older one; Python's are 700, 10 and 10.
_THRESHOLDS = (100_000, 20, 100)


def collect_seldom() -> None:
    """From now on this process looks every 100,000 containers in place of every 700.

    A graph of Beam or TensorFlow is many objects that stay. Of `prepare` of 42 MB 0.5 of 2.5 CPU-seconds were such looks, with the same
    peak of memory: arrays are no part of cycles here, and go when nobody names them.
    """
    gc.set_threshold(*_THRESHOLDS)


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
