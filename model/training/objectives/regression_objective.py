"""The objective of numbers: the squared error of each text's, as for a task such as STS-B."""

import tensorflow as tf

from clozekit.model.training.objectives.objective import Batch, Objective, Sums, task_outputs


def square_sums(values: tf.Tensor, batch: Batch) -> Sums:
    """The sums of predictions (B, 1) with labels, float32 (B,): the numbers to predict."""
    count = tf.cast(tf.shape(values)[0], tf.float32)
    return Sums(tf.reduce_sum(tf.square(values[:, 0] - batch["labels"])), count, tf.constant(0.0))


def summed_squares(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """The squared differences of a student's numbers from a teacher's, summed; numbers are not softened."""
    return tf.reduce_sum(tf.square(student - teacher))


OBJECTIVE = Objective(task_outputs, square_sums, is_right_or_wrong=False, distillation=summed_squares)
