"""Small files of a run, on a disk or at a URL that TensorFlow's file systems know."""

import tensorflow as tf

from clozekit.tokenizers.file_systems import temporary_name

# A store shows an object when all of it has arrived; a rename there would be a copy.
_STORES = ("gs://", "s3://")


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
