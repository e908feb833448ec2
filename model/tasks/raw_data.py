"""Raw text for Keras's loops: in-memory data or a dataset, batched and preprocessed in `tf.data`."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from clozekit.model.common.prefetch import prefetch
from clozekit.model.common.without_autograph import without_autograph
from clozekit.model.preprocessing.preprocessor import Preprocessor, as_strings
from clozekit.tokenizers.common.errors import InputError

DEFAULT_BATCH_SIZE = 32


def dataset(
    preprocessor: Preprocessor,
    x: object,
    y: object,
    sample_weight: object,
    batch_size: int | None,
    shuffle: bool = False,
    redraw: bool = False,
) -> tf.data.Dataset:
    """Batches of the model's inputs.

    redraw: what is random is drawn anew in every epoch; otherwise it is the same whenever the dataset is read.
    """
    batches = _batches(x, y, sample_weight, batch_size, shuffle)

    @without_autograph
    def preprocess(draw: tf.Tensor, element: object) -> object:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(element)
        return preprocessor.preprocess(x, y, sample_weight, draw)

    if redraw:
        # One number a batch, drawn in order: parallel maps can't change what is masked.
        seed = getattr(preprocessor, "seed", None)
        draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    else:
        draws = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).repeat()
    zipped = tf.data.Dataset.zip((draws, batches))
    return prefetch(zipped.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE))


def _batches(x: object, y: object, sample_weight: object, batch_size: int | None, shuffle: bool) -> tf.data.Dataset:
    if isinstance(x, tf.data.Dataset):
        for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
            if value is not None:
                raise InputError(f"with a tf.data.Dataset, {name} must stand in the dataset, got {name} apart")
        _check_dataset(x)
        return x
    if hasattr(x, "__next__") or isinstance(x, keras.utils.PyDataset):
        raise InputError(
            f"raw text must come as strings or as a batched tf.data.Dataset, got a {type(x).__name__};"
            " wrap it with tf.data.Dataset.from_generator"
        )
    texts = tuple(_texts(segment) for segment in x) if isinstance(x, tuple) else _texts(x)
    structure = keras.utils.pack_x_y_sample_weight(texts, _slices(y), _slices(sample_weight))
    try:
        rows = tf.data.Dataset.from_tensor_slices(structure)
    except (ValueError, IndexError) as error:
        raise InputError(
            f"x, y and sample_weight must be batches of one length, they are not ({error});"
            " wrap a single example in a list"
        ) from error
    if shuffle:
        rows = rows.shuffle(max(1, int(rows.cardinality())), reshuffle_each_iteration=True)
    return rows.batch(batch_size or DEFAULT_BATCH_SIZE)


def _check_dataset(dataset: tf.data.Dataset) -> None:
    """Raises InputError unless the elements are batches of strings, or tuples that begin with them."""
    spec = dataset.element_spec
    x = keras.utils.unpack_x_y_sample_weight(spec)[0]
    for segment in x if isinstance(x, tuple) else (x,):
        if getattr(segment, "dtype", None) != tf.string or segment.shape.rank != 1:
            raise InputError(
                f"raw text in a tf.data.Dataset must be batches of strings, got {segment}; batch the dataset"
                " (.batch(32)), or for preprocessed data build the task with preprocessor=None"
            )


def _texts(value: object) -> tf.Tensor:
    """Several strings as a tensor."""
    texts = as_strings(value)
    if texts.shape.rank == 0:
        raise InputError("fit, evaluate and predict take several texts, got one string; wrap it in a list")
    return texts


def _slices(value: object) -> object:
    """Labels or weights as something that `from_tensor_slices` takes."""
    if value is None or isinstance(value, tf.Tensor):
        return value
    return np.asarray(value) if hasattr(value, "__array__") else tf.convert_to_tensor(value)


def split(
    x: Any, y: object, sample_weight: object, validation_split: float
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """The first examples to train on and the last `validation_split` of them to validate on, as Keras splits."""
    if isinstance(x, tf.data.Dataset):
        raise InputError("validation_split needs data in memory, got a tf.data.Dataset; pass validation_data")
    if not 0 < validation_split < 1:
        raise InputError(f"validation_split must be between 0 and 1, got {validation_split}")
    size = len(x[0] if isinstance(x, tuple) else x)
    first = int(size * (1 - validation_split))
    if not 0 < first < size:
        raise InputError(f"validation_split {validation_split} of {size} examples leaves one side empty; change it")

    def cut(value: Any, part: slice) -> object:
        if isinstance(value, tuple):
            return tuple(cut(inner, part) for inner in value)
        return None if value is None else value[part]

    values = (x, y, sample_weight)
    train, validation = (
        tuple(cut(value, part) for value in values) for part in (slice(None, first), slice(first, None))
    )
    return train, validation


def validation_dataset(preprocessor: Preprocessor, data: object, batch_size: int | None) -> tf.data.Dataset:
    """The batches of `fit(validation_data=...)`: a dataset, or (x, y[, sample_weight])."""
    if isinstance(data, tf.data.Dataset):
        return dataset(preprocessor, data, None, None, None)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return dataset(preprocessor, x, y, sample_weight, batch_size)
