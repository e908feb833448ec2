"""The objective of similarities: the squared error of the cosine of two texts.

Source: Reimers and Gurevych 2019 (arXiv 1908.10084), section 3 (the regression objective function);
CosineSimilarityLoss of sentence-transformers is the same.
"""

import tensorflow as tf

from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.model.training.objectives.embedding_objective import unit_vectors
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def cosines(task: TextEmbedder, batch: Batch, training: bool) -> tf.Tensor:
    """float32 (B,): the cosine of each row and its pair."""
    first, second = unit_vectors(task, batch, training)
    return tf.reduce_sum(first * second, axis=-1)


def square_sums(found: tf.Tensor, batch: Batch) -> Sums:
    """The sums of cosines (B,) with labels, float32 (B,): how similar the texts are, -1 to 1."""
    count = tf.cast(tf.shape(found)[0], tf.float32)
    return Sums(tf.reduce_sum(tf.square(found - batch["labels"])), count, tf.constant(0.0))


def summed_squares(student: tf.Tensor, teacher: tf.Tensor, batch: Batch, temperature: float) -> tf.Tensor:
    """The squared differences of a student's cosines from a teacher's, summed; cosines are not softened."""
    return tf.reduce_sum(tf.square(student - teacher))


OBJECTIVE = Objective(cosines, square_sums, is_right_or_wrong=False, distillation=summed_squares)
