"""Loading TensorFlow in a command: what it says when it looks for its devices is kept back too."""

import os
import sys
from collections.abc import Callable
from typing import Any

from clozekit.tokenizers.common.hidden_packages import hidden_packages
from clozekit.tokenizers.common.quiet_libraries import is_debugging, quiet_stderr
from clozekit.tokenizers.common.seldom_collection import paused_collection

# Keras and TensorFlow load each of these when they find it, up to half of their 4 CPU-seconds, for what no verb uses:
# wrappers, galleries, tables as inputs, converting JAX's programs.
_NOT_NEEDED = ("IPython", "jax", "matplotlib", "pandas", "scipy.sparse", "sklearn")


def load_tensorflow(first: Callable[[], Any] | None = None, keeps_programs: bool = True) -> Any:
    """Returns what `first` gives, which is called before TensorFlow looks for its devices. keeps_programs: whether what an earlier
    command compiled is not compiled again."""
    # No verb loads what belongs to models before it is asked to.
    from clozekit.model.common.freed_memory import keep_freed_memory
    from clozekit.tokenizers.common.kept_programs import keep_programs

    keep_freed_memory()
    if keeps_programs and "tensorflow" not in sys.modules:
        keep_programs()
    is_ours = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    with quiet_stderr():
        with hidden_packages(_NOT_NEEDED if is_ours else ()), paused_collection():
            import keras  # noqa: F401
            import tensorflow as tf

        result = None if first is None else first()
        tf.constant(0)  # the first operation looks for devices, and says so
        tf.get_logger().setLevel("INFO" if is_debugging() else "ERROR")
    return result
