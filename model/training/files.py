"""Small files of a run, on a disk or at a URL that TensorFlow's file systems know."""

import tensorflow as tf


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    with tf.io.gfile.GFile(f"{path}.tmp", "w") as stream:
        stream.write(text)
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
