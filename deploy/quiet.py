"""Loading TensorFlow without its start-up messages, which no variable turns off."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clozekit.tokenizers.errors import InputError


@contextmanager
def quiet_stderr(debug: bool) -> Iterator[None]:
    """Keeps what C++ libraries print to standard error from the screen; shows it after all when the block fails."""
    if debug:
        yield
        return
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except (InputError, KeyboardInterrupt):
            # One line says it all.
            os.dup2(saved, 2)
            raise
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def load_tensorflow(debug: bool, first: Callable[[], Any] | None = None) -> Any:
    """Returns what `first` gives, which is called before TensorFlow looks for its devices."""
    with quiet_stderr(debug):
        import keras  # noqa: F401
        import tensorflow as tf

        result = None if first is None else first()
        tf.constant(0)  # the first operation looks for devices, and says so
        tf.get_logger().setLevel("INFO" if debug else "ERROR")
    return result
