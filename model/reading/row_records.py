"""From records to tensors: token ids, and what the graph derives from the lengths of the packed documents."""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf
from google.protobuf.message import DecodeError

from clozekit.model.common.row_sums import number_ranges, padded
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
        pairs = [tf.identity(parsed[name].values) for name in (SEGMENT_LENGTHS, PAIR_LABELS) if form.has_segments]
    derived = derive(lengths, form.sequence_length, *pairs)
    ids = parsed[TOKEN_IDS]
    token_ids = padded(tf.cast(ids.values, tf.int32), ids.row_splits, form.sequence_length, form.pad_token_id)
    return {"token_ids": token_ids, "row_id": parsed[ROW_ID], **derived}


def _fit(parsed: Mapping[str, tf.Tensor | tf.RaggedTensor], form: RecordFormat) -> tf.Tensor:
    """bool (): whether no row is longer than it may be, and its documents, segments and ids are as many as it says.

    Looked at before anything becomes int32, where large numbers turn into small ones.
    """
    lengths, ids = parsed[DOCUMENT_LENGTHS], parsed[TOKEN_IDS]
    each = tf.logical_and(lengths.values >= 1, lengths.values <= form.sequence_length)
    sums = tf.reduce_sum(lengths, axis=1)
    rules = [tf.reduce_all(each), tf.reduce_all(sums <= form.sequence_length)]
    rules += [tf.reduce_all(tf.cast(ids.row_lengths(), tf.int64) == sums)]
    # Negative numbers are the highest of all without a sign: one look for both ends.
    rules += [tf.reduce_max(tf.bitcast(ids.values, tf.uint64)) < 2**31]
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


def derive(
    document_lengths: tf.RaggedTensor,
    sequence_length: int,
    segment_lengths: tf.Tensor | None = None,
    pair_labels: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """What the lengths of the packed documents say, each int32 (B, T): document_ids (1.. per document, 0 = padding), positions
    (restart at each document) and padding_mask (1 = real).

    segment_lengths, pair_labels: int64 (D,), of each of the D documents of the batch how long its first segment is, and the
    label of the pair. With them also segment_ids (1 in the second segment, 0 in the first and in padding) and pair_labels (the
    label at a document's first token, NO_PAIR elsewhere).
    """
    # All that is said of a token shares one integer until the rows are padded: position, segment, label, document. So one
    # range for each segment makes them all, where sums and gathers over (B, T) for each of them took three times as long.
    bits = sequence_length.bit_length()
    has_pairs = segment_lengths is not None and pair_labels is not None
    document_at = bits + 3 if has_pairs else bits
    dtype = tf.int32 if document_at + bits < 32 else tf.int64
    splits = tf.cast(document_lengths.row_splits, tf.int32)
    num_documents = splits[1:] - splits[:-1]
    numbers = number_ranges(tf.ones_like(num_documents), num_documents + 1).rt_dense_values
    starts = tf.cast(numbers, dtype) * 2**document_at
    lengths = tf.cast(document_lengths.values, dtype)
    if has_pairs:
        starts += (tf.cast(pair_labels, dtype) - NO_PAIR) * 2 ** (bits + 1)
        in_second = starts + 2**bits
        firsts = tf.minimum(tf.cast(segment_lengths, dtype), lengths)
        ends = tf.reshape(tf.stack([starts + firsts, in_second + lengths], axis=1), [-1])
        starts = tf.reshape(tf.stack([starts, in_second + firsts], axis=1), [-1])
        splits *= 2
    else:
        ends = starts + lengths
    tokens = number_ranges(starts, ends)
    said = padded(tokens.rt_dense_values, tf.gather(tokens.rt_nested_splits, splits), sequence_length)

    def part(first_bit: int, num_bits: int) -> tf.Tensor:
        shifted = tf.bitwise.right_shift(said, tf.constant(first_bit, dtype)) if first_bit else said
        return tf.cast(tf.bitwise.bitwise_and(shifted, tf.constant(2**num_bits - 1, dtype)), tf.int32)

    document_ids, positions = part(document_at, bits), part(0, bits)
    derived = {"document_ids": document_ids, "positions": positions, "padding_mask": tf.minimum(document_ids, 1)}
    if has_pairs:
        is_first = tf.logical_and(tf.equal(positions, 0), document_ids > 0)
        derived["segment_ids"] = part(bits, 1)
        derived["pair_labels"] = tf.where(is_first, part(bits + 1, 2) + NO_PAIR, NO_PAIR)
    return derived
