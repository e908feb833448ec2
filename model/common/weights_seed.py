"""Fresh weights that a seed decides, without touching the random numbers of whoever asked for them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def weights_seed(seed: int) -> Iterator[None]:
    """Models built inside begin with the weights and dropout of this seed; Python's random numbers go on as before.

    An initializer or dropout without a seed of its own draws one from Python's generator when it is made, and makes its
    numbers from that alone. `keras.utils.set_random_seed` would set the generators of NumPy and TensorFlow too, for good.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
