"""The objective of several labels: the binary cross-entropy of each label of each text, their mean a text."""

import tensorflow as tf

from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def label_sums(task: TextClassifier, batch: Batch, training: bool) -> Sums:
    """The sums of a batch with labels, float32 (B, C): 1 where a text has the label. Right is a text with all labels right."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = tf.cast(task(inputs, training=training), tf.float32)
    losses = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["labels"], logits), axis=1)
    right = tf.reduce_all(tf.equal(logits > 0, batch["labels"] > 0.5), axis=1)
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    return Sums(tf.reduce_sum(losses), count, tf.reduce_sum(tf.cast(right, tf.float32)))


OBJECTIVE = Objective(label_sums)
