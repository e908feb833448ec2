"""Small files of a run, on a disk or at a URL that TensorFlow's file systems know."""

import os

import tensorflow as tf

from clozekit.tokenizers.storage.file_systems import temporary_name

# A store shows an object when all of it has arrived; a rename there would be a copy.
_STORES = ("gs://", "s3://")


def read_text(path: str, most_bytes: int = 2**26) -> str:
    """A file of a run. Raises ValueError for one of more bytes, or what is no file: a pipe would be waited for."""
    if "://" not in path and os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no file")
    if tf.io.gfile.stat(path).length > most_bytes:
        raise ValueError(f"it is longer than {most_bytes:,} bytes")
    with tf.io.gfile.GFile(path) as stream:
        return str(stream.read())


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    if path.startswith(_STORES):
        with tf.io.gfile.GFile(path, "w") as stream:
            stream.write(text)
        return
    temporary = temporary_name(path)
    with tf.io.gfile.GFile(temporary, "w") as stream:
        stream.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)
