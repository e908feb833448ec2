"""Loading TensorFlow in a command: what it says when it looks for its devices is kept back too."""

from collections.abc import Callable
from typing import Any

from clozekit.tokenizers.common.quiet_libraries import is_debugging, quiet_stderr


def load_tensorflow(first: Callable[[], Any] | None = None) -> Any:
    """Returns what `first` gives, which is called before TensorFlow looks for its devices."""
    # No verb loads what belongs to models before it is asked to.
    from clozekit.model.common.freed_memory import keep_freed_memory

    keep_freed_memory()
    with quiet_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        result = None if first is None else first()
        tf.constant(0)  # the first operation looks for devices, and says so
        tf.get_logger().setLevel("INFO" if is_debugging() else "ERROR")
    return result
