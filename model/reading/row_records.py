"""From records to tensors: token ids, and what the graph derives from the lengths of the packed documents."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from clozekit.model.common.row_sums import add_at, running_sum
from clozekit.model.reading.shard_files import WRONG_ROW
from clozekit.pipelines.dataset.records import DOCUMENT_LENGTHS, PAIR_LABELS, ROW_ID, SEGMENT_LENGTHS, TOKEN_IDS
from clozekit.pipelines.dataset.row_limits import NO_PAIR
from clozekit.tokenizers.common.errors import InputError

# The row number of a record that could not be read.
NO_ROW = -1


@dataclass(frozen=True)
class RecordFormat:
    """How the records of a dataset are read."""

    sequence_length: int
    pad_token_id: int
    has_segments: bool = False


def record_format(record: bytes, sequence_length: int, pad_token_id: int) -> RecordFormat:
    """The format that one record of a dataset shows."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise InputError(f"{WRONG_ROW}; the first record is no tf.train.Example, prepare the dataset again") from error
    return RecordFormat(sequence_length, pad_token_id, SEGMENT_LENGTHS in features)


def parse_rows(records: tf.Tensor, form: RecordFormat) -> dict[str, tf.Tensor]:
    """Rows of serialized records (B,): row_id (B,), and int32 (B, T): token_ids, document_ids, positions, padding_mask,
    and where the dataset has sentence pairs segment_ids, and pair_labels: the label of a pair at its first token, -1 elsewhere. An empty record is a row of padding."""
    # No strings: damaged ones end the process in TensorFlow's parser (tests/fuzz/test_fuzz_rows.py).
    lists = [DOCUMENT_LENGTHS, TOKEN_IDS, *([SEGMENT_LENGTHS, PAIR_LABELS] if form.has_segments else [])]
    features: dict[str, object] = {name: tf.io.RaggedFeature(tf.int64) for name in lists}
    features[ROW_ID] = tf.io.FixedLenFeature([], tf.int64, default_value=NO_ROW)
    parsed = tf.io.parse_example(records, features)
    with tf.control_dependencies([tf.debugging.Assert(_fit(parsed, form), [WRONG_ROW])]):
        lengths = parsed[DOCUMENT_LENGTHS].with_values(tf.identity(parsed[DOCUMENT_LENGTHS].values))
    derived = derive(lengths, form.sequence_length)
    if form.has_segments:
        firsts = tf.cast(parsed[SEGMENT_LENGTHS].to_tensor(), tf.int32)
        derived["segment_ids"] = segment_ids(firsts, derived)
        labels = tf.cast(parsed[PAIR_LABELS].to_tensor(), tf.int32)
        derived["pair_labels"] = pair_labels(labels, derived)
    token_ids = parsed[TOKEN_IDS].to_tensor(form.pad_token_id, shape=[None, form.sequence_length])
    return {"token_ids": tf.cast(token_ids, tf.int32), "row_id": parsed[ROW_ID], **derived}


def _fit(parsed: Mapping[str, tf.Tensor | tf.RaggedTensor], form: RecordFormat) -> tf.Tensor:
    """bool (): whether no row is longer than it may be, and its documents, segments and ids are as many as it says.

    Looked at before anything becomes int32, where large numbers turn into small ones.
    """
    lengths, ids = parsed[DOCUMENT_LENGTHS], parsed[TOKEN_IDS]
    each = tf.logical_and(lengths.values >= 1, lengths.values <= form.sequence_length)
    sums = tf.reduce_sum(lengths, axis=1)
    rules = [tf.reduce_all(each), tf.reduce_all(sums <= form.sequence_length)]
    rules += [tf.reduce_all(tf.cast(ids.row_lengths(), tf.int64) == sums)]
    rules += [tf.reduce_all(tf.logical_and(ids.values >= 0, ids.values < 2**31))]
    if form.has_segments:
        firsts = parsed[SEGMENT_LENGTHS]
        rules += [tf.reduce_all(firsts.row_lengths() == lengths.row_lengths())]
        rules += [tf.reduce_all(tf.logical_and(firsts.values >= 0, firsts.values <= form.sequence_length))]
        labels = parsed[PAIR_LABELS]
        rules += [tf.reduce_all(labels.row_lengths() == lengths.row_lengths())]
        rules += [tf.reduce_all(tf.logical_and(labels.values >= NO_PAIR, labels.values <= 1))]
    return tf.reduce_all(tf.stack(rules))


def row_lengths(records: tf.Tensor) -> tf.Tensor:
    """int32 (B,): how many tokens each record holds."""
    lengths = tf.io.parse_example(records, {DOCUMENT_LENGTHS: tf.io.RaggedFeature(tf.int64)})[DOCUMENT_LENGTHS]
    return tf.cast(tf.reduce_sum(lengths, axis=1), tf.int32)


def derive(document_lengths: tf.RaggedTensor, sequence_length: int) -> dict[str, tf.Tensor]:
    """document_ids (1.. per packed document, 0 = padding), positions (restart at each document) and padding_mask
    (1 = real), each int32 (B, T), from the lengths of the packed documents."""
    lengths = tf.cast(document_lengths.to_tensor(), tf.int32)
    ends = tf.cumsum(lengths, axis=1)
    places = tf.constant(np.arange(sequence_length, dtype=np.int32))[None, :]
    real = places < tf.reduce_sum(lengths, axis=1, keepdims=True)
    # At each document's begin, its number goes up by one and its position back by the length of the one before. What is
    # said of the place behind the last one falls away.
    begins, before = tf.minimum(ends - lengths, sequence_length), tf.pad(lengths, [[0, 0], [1, 0]])[:, :-1]
    numbers = running_sum(add_at(begins, tf.cast(lengths > 0, tf.int32), sequence_length + 1)[:, :sequence_length])
    backs = running_sum(add_at(begins, before, sequence_length + 1)[:, :sequence_length])
    return {
        "document_ids": tf.where(real, numbers, 0),
        "positions": tf.where(real, places - backs, 0),
        "padding_mask": tf.cast(real, tf.int32),
    }


def segment_ids(firsts: tf.Tensor, derived: dict[str, tf.Tensor]) -> tf.Tensor:
    """int32 (B, T): 1 from position `firsts` (B, D) of each document on, 0 before and in padding."""
    begins = tf.gather(tf.pad(firsts, [[0, 0], [1, 0]]), derived["document_ids"], batch_dims=1)
    second = tf.logical_and(derived["positions"] >= begins, derived["document_ids"] > 0)
    return tf.cast(second, tf.int32)


def pair_labels(labels: tf.Tensor, derived: dict[str, tf.Tensor]) -> tf.Tensor:
    """int32 (B, T): of `labels` (B, D), that of each document at its first token, NO_PAIR elsewhere."""
    own = tf.gather(tf.pad(labels, [[0, 0], [1, 0]], constant_values=NO_PAIR), derived["document_ids"], batch_dims=1)
    is_first = tf.logical_and(tf.equal(derived["positions"], 0), derived["document_ids"] > 0)
    return tf.where(is_first, own, NO_PAIR)
