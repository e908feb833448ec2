"""The objective of tagged words: cross-entropy of the class of each word's first token. Devlin et al. 2018, section 5.3."""

import tensorflow as tf

from clozekit.model.tasks.token_classifier import TokenClassifier
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def tag_sums(task: TokenClassifier, batch: Batch, training: bool) -> Sums:
    """The sums of a batch with labels, int32 (B, T): the numbers of the classes, negative for tokens that have none."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = tf.cast(task(inputs, training=training), tf.float32)
    has_class = tf.cast(batch["labels"] >= 0, tf.float32)
    labels = tf.maximum(batch["labels"], 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels), tf.float32)
    return Sums(tf.reduce_sum(losses * has_class), tf.reduce_sum(has_class), tf.reduce_sum(right * has_class))


OBJECTIVE = Objective(tag_sums)
