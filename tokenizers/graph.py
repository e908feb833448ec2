"""The in-graph face: a `tf.string` tensor in, ids out, the same ids as the batch face because it is the batch face.

The graph calls out to Python (`tf.numpy_function`), once for each batch of texts. In `tf.data` that costs next to nothing
and is many times faster than the operations of tensorflow-text, whose normalisation is not exact besides. What it
means: such a graph runs where Python runs. A SavedModel that holds it can be loaded only in the process that made
it, so export models that take ids, not texts.

TensorFlow is imported here and nowhere else in this folder: Beam workers tokenize without it.
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import clozekit.tokenizers.common.quiet_tensorflow  # noqa: F401  # isort: skip
import numpy as np
import tensorflow as tf

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.text_batch import TextBatch


class EncodesTexts(Protocol):
    """What a graph asks of a tokenizer, which imports this file when it is first put into a graph."""

    sequence_length: int | None
    dtype: str

    def encode_batch(self, texts: TextBatch, /) -> tuple[np.ndarray, np.ndarray]: ...
    def decode(self, token_ids: Sequence[int]) -> str: ...
    def get_vocabulary(self) -> list[str]: ...
    def padding_id(self) -> int: ...


def tokenize(tokenizer: EncodesTexts, inputs: Any) -> Any:
    """Ids of a `tf.string` tensor: int32 (num_tokens,) for a scalar, ragged (num_texts, None) for a batch.

    With `sequence_length` set: (sequence_length,) or (num_texts, sequence_length). With dtype "string": pieces.
    """
    if isinstance(inputs, tf.RaggedTensor):
        if inputs.dtype != tf.string:
            raise InputError(f"texts in a graph must be tf.string, got {inputs.dtype.name}; convert them")
        return inputs.with_flat_values(tokenize(tokenizer, inputs.flat_values))
    inputs = tf.convert_to_tensor(inputs)
    rank = inputs.shape.rank
    if inputs.dtype != tf.string or rank not in (0, 1):
        raise InputError(
            f"texts in a graph must be a tf.string tensor of rank 0 or 1, got {inputs.dtype.name} of rank {rank};"
            " flatten it"
        )
    texts = tf.reshape(inputs, [-1])

    def encode(joined: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A scalar string arrives as bytes or as an array of them, as the version of TensorFlow likes.
        token_ids, row_lengths = tokenizer.encode_batch(_texts(np.asarray(joined, object).item(), lengths))
        return token_ids, row_lengths

    # One string for the whole batch: an array of Python strings would cost more than the tokenizing (measured: 20 of
    # 24 ms for 3,761 lines in batches of 256).
    joined, lengths = tf.strings.reduce_join(texts), tf.strings.length(texts)
    token_ids, row_lengths = tf.numpy_function(encode, [joined, lengths], [tf.int32, tf.int64], stateful=False)
    token_ids.set_shape([None])
    row_lengths.set_shape([inputs.shape[0] if rank == 1 else 1])
    rows = tf.RaggedTensor.from_row_lengths(token_ids, row_lengths, validate=False)
    if tokenizer.sequence_length is not None:
        length = tokenizer.sequence_length
        rows = rows.to_tensor(default_value=tokenizer.padding_id(), shape=[inputs.shape[0] if rank else 1, length])
    if tokenizer.dtype == "string":
        rows = tf.gather(tf.constant(tokenizer.get_vocabulary()), rows)
    if rank == 1:
        return rows
    return rows[0] if tokenizer.sequence_length is not None else (rows.flat_values)


def tokenize_words(tokenizer: EncodesTexts, inputs: Any) -> Any:
    """Ids of the words of one text (num_words,), flat, or of several (num_texts, None), ragged or padded."""
    is_ragged = isinstance(inputs, tf.RaggedTensor)
    words = inputs if is_ragged else tf.convert_to_tensor(inputs)
    if words.shape.rank == 0:
        return tokenize(tokenizer, words)
    flat = words.flat_values if is_ragged else tf.reshape(words, [-1])
    # With a copy that pads no single word.
    plain = copy.copy(tokenizer)
    plain.sequence_length = None
    of_words = tokenize(plain, flat)
    if words.shape.rank == 1 and not is_ragged:
        rows = tf.RaggedTensor.from_row_lengths(of_words.flat_values, tf.size(of_words.flat_values)[None])
    else:
        nested = words if is_ragged else tf.RaggedTensor.from_tensor(words)
        rows = nested.with_values(of_words).merge_dims(-2, -1)
    if tokenizer.sequence_length is not None:
        padding = (
            tokenizer.get_vocabulary()[tokenizer.padding_id()]
            if tokenizer.dtype == "string"
            else tokenizer.padding_id()
        )
        rows = rows.to_tensor(padding, shape=[None, tokenizer.sequence_length])
    if words.shape.rank == 1 and not is_ragged:
        return rows[0]
    return rows


def _texts(joined: bytes, lengths: np.ndarray) -> TextBatch:
    """The batch face takes UTF-8 bytes as they are."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return TextBatch(np.frombuffer(joined, np.uint8), offsets)


def detokenize(tokenizer: EncodesTexts, token_ids: Any) -> Any:
    """Text (a scalar) of ids (num_tokens,), or texts (num_texts,) of rows of ids, dense or ragged."""
    is_ragged = isinstance(token_ids, tf.RaggedTensor)
    rank = token_ids.shape.rank
    if rank not in (1, 2) or not token_ids.dtype.is_integer:
        raise InputError(
            f"ids in a graph must be integers of rank 1 or 2, got {token_ids.dtype.name} of rank {rank}; flatten them"
        )
    rows = token_ids if is_ragged else tf.RaggedTensor.from_tensor(token_ids if rank == 2 else token_ids[None])

    def decode(values: np.ndarray, splits: np.ndarray) -> np.ndarray:
        cuts = zip(splits[:-1].tolist(), splits[1:].tolist(), strict=True)
        return np.array([tokenizer.decode(values[start:end].tolist()).encode() for start, end in cuts], object)

    texts = tf.numpy_function(decode, [rows.values, rows.row_splits], tf.string, stateful=False)
    texts.set_shape([token_ids.shape[0] if rank == 2 else 1])
    return texts if rank == 2 else texts[0]
