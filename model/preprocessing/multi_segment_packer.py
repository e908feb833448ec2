"""KerasHub's packer of segments: start, segment, separator, segment, end, padding, as its users call it."""

from collections.abc import Sequence
from typing import Any

import keras

from clozekit.tokenizers.common.errors import InputError


class MultiSegmentPacker:
    """Packs the ids of one or more segments into rows of fixed length; gives (token_ids, segment_ids), both int32.

    Args:
        sequence_length: tokens of a row, special ones and padding included.
        start_value, end_value, pad_value: ids at the begin, at the end and behind it.
        sep_value: the id, or several, between two segments; None: `end_value`.
        truncate: "round_robin" or "waterfall", see `Preprocessor`.

    Example:

        >>> from clozekit.model.preprocessing.multi_segment_packer import MultiSegmentPacker
        >>> packer = MultiSegmentPacker(sequence_length=8, start_value=2, end_value=3)
        >>> token_ids, segment_ids = packer(([6, 7], [9]))
        >>> token_ids.numpy().tolist(), segment_ids.numpy().tolist()
        ([2, 6, 7, 3, 9, 3, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0])
    """

    def __init__(
        self,
        sequence_length: int,
        start_value: int,
        end_value: int,
        sep_value: int | Sequence[int] | None = None,
        pad_value: int = 0,
        truncate: str = "round_robin",
    ) -> None:
        self.sequence_length = sequence_length
        self.start_value = start_value
        self.end_value = end_value
        separators = end_value if sep_value is None else sep_value
        self.sep_value = [separators] if isinstance(separators, int) else list(separators)
        self.pad_value = pad_value
        self.truncate = truncate

    def __call__(self, inputs: Any) -> tuple[Any, Any]:
        """inputs: the ids of a segment (num_tokens,), of several examples' (num_examples, None), or a tuple of those."""
        import tensorflow as tf

        from clozekit.model.preprocessing.pack_segments import SegmentPacking, pack_segments

        segments = [_ragged(segment) for segment in (inputs if isinstance(inputs, tuple) else (inputs,))]
        ranks = {segment.shape.rank for segment in segments}
        if ranks not in ({1}, {2}):
            raise InputError(
                f"segments must be ids of rank 1, or all of rank 2, got ranks {sorted(ranks)}; put each in a list"
            )
        is_batch = ranks == {2}
        batches = [
            segment
            if isinstance(segment, tf.RaggedTensor)
            else tf.RaggedTensor.from_tensor(segment if is_batch else segment[None])
            for segment in segments
        ]
        packing = SegmentPacking(
            self.sequence_length, self.start_value, tuple(self.sep_value), self.end_value, self.pad_value, self.truncate
        )
        rows = pack_segments(batches, packing)
        packed = [rows[name] if is_batch else rows[name][0] for name in ("token_ids", "segment_ids")]
        if tf.executing_eagerly() and keras.backend.backend() != "tensorflow":
            packed = [keras.ops.convert_to_tensor(part.numpy()) for part in packed]
        return packed[0], packed[1]


def _ragged(segment: Any) -> Any:
    import tensorflow as tf

    if isinstance(segment, tf.RaggedTensor):
        return tf.cast(segment, tf.int32)
    if isinstance(segment, list) and segment and hasattr(segment[0], "__len__"):
        return tf.ragged.constant(segment, tf.int32, ragged_rank=1)
    return tf.cast(tf.convert_to_tensor(segment), tf.int32)
