"""The masked-LM loss and accuracy, as sums: they are divided once, after everything was summed."""

from typing import NamedTuple

import tensorflow as tf


class Sums(NamedTuple):
    """What a batch adds: summed loss (nats), number of predictions, number of right ones; float32 scalars."""

    loss: tf.Tensor
    count: tf.Tensor
    correct: tf.Tensor


def masked_sums(logits: tf.Tensor, mask_ids: tf.Tensor, mask_weights: tf.Tensor) -> Sums:
    """logits: (B, M, V); mask_ids: int32 (B, M); mask_weights: float32 (B, M), 0 for unused slots."""
    logits = tf.cast(logits, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(mask_ids, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), mask_ids), tf.float32)
    return Sums(tf.reduce_sum(losses * mask_weights), tf.reduce_sum(mask_weights), tf.reduce_sum(right * mask_weights))
