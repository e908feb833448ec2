"""Packing tokenized segments into rows of fixed length, in the tf.data graph: special tokens, truncation, padding."""

from dataclasses import dataclass

import tensorflow as tf
import tensorflow_text as tf_text


@dataclass(frozen=True)
class SegmentPacking:
    """How segments become a row: start, segment, separators, segment, end, padding up to `sequence_length`."""

    sequence_length: int
    start_id: int
    separator_ids: tuple[int, ...]
    end_id: int
    pad_id: int
    truncate: str


def pack_segments(segments: list[tf.RaggedTensor], packing: SegmentPacking) -> dict[str, tf.Tensor]:
    """token_ids, segment_ids and padding_mask, each int32 (B, sequence_length), of one or more segments (B, None).

    Too long examples lose the ends of their segments: by "round_robin" one token a turn goes to each segment that still
    has some until the row is full, by "waterfall" the first segment takes what it needs, then the next.
    """
    separators = len(packing.separator_ids) * (len(segments) - 1)
    budget = packing.sequence_length - 2 - separators
    segments = _truncate(segments, budget, packing.truncate)
    num_rows = segments[0].nrows()
    parts, of_segment = [], []

    def add(ids: tf.RaggedTensor, segment: int) -> None:
        parts.append(ids)
        of_segment.append(ids.with_values(tf.fill(tf.shape(ids.values), segment)))

    def constants(ids: tuple[int, ...]) -> tf.RaggedTensor:
        values = tf.tile(tf.constant(ids, tf.int32), num_rows[None])
        return tf.RaggedTensor.from_uniform_row_length(values, len(ids), num_rows).with_row_splits_dtype(tf.int64)

    add(constants((packing.start_id,)), 0)
    for index, segment in enumerate(segments):
        add(_plain(segment), index)
        add(constants((packing.end_id,) if index == len(segments) - 1 else packing.separator_ids), index)
    token_ids = tf.concat(parts, axis=1)
    shape = [None, packing.sequence_length]
    lengths = tf.cast(token_ids.row_lengths(), tf.int32)
    mask = tf.sequence_mask(lengths, packing.sequence_length, tf.int32)
    return {
        "token_ids": token_ids.to_tensor(packing.pad_id, shape=shape),
        "segment_ids": tf.concat(of_segment, axis=1).to_tensor(0, shape=shape),
        "padding_mask": tf.ensure_shape(mask, shape),
    }


def _truncate(segments: list[tf.RaggedTensor], budget: int, truncate: str) -> list[tf.RaggedTensor]:
    if len(segments) == 1:
        return [segments[0][:, :budget]]
    trimmer = tf_text.RoundRobinTrimmer if truncate == "round_robin" else tf_text.WaterfallTrimmer
    return trimmer(budget).trim(segments)


def _plain(segment: tf.RaggedTensor) -> tf.RaggedTensor:
    """The same with its values as one flat tensor and int64 splits, whatever its making left."""
    return tf.RaggedTensor.from_row_splits(segment.values, tf.cast(segment.row_splits, tf.int64), validate=False)
