"""The objective of numbers: the squared error of each text's, as for a task such as STS-B."""

import tensorflow as tf

from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def square_sums(task: TextClassifier, batch: Batch, training: bool) -> Sums:
    """The sums of a batch with labels, float32 (B,): the numbers to predict."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    values = tf.cast(task(inputs, training=training), tf.float32)[:, 0]
    count = tf.cast(tf.shape(values)[0], tf.float32)
    return Sums(tf.reduce_sum(tf.square(values - batch["labels"])), count, tf.constant(0.0))


OBJECTIVE = Objective(square_sums, is_right_or_wrong=False)
