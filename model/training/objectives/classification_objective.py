"""The objective of classes: cross-entropy of each text's class. Devlin et al. 2018 (arXiv 1810.04805, section 4.1)."""

import tensorflow as tf

from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def class_sums(task: TextClassifier, batch: Batch, training: bool) -> Sums:
    """The sums of a batch with labels, int32 (B,): the numbers of the classes."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = tf.cast(task(inputs, training=training), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], logits)
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), batch["labels"])
    count = tf.cast(tf.shape(logits)[0], tf.float32)
    return Sums(tf.reduce_sum(losses), count, tf.reduce_sum(tf.cast(right, tf.float32)))


OBJECTIVE = Objective(class_sums)
