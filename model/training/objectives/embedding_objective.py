"""The objective of text embeddings: each text finds its pair among those of its group (in-batch negatives).

Source: van den Oord et al. 2018 (arXiv 1807.03748), section 2.3 (InfoNCE); Henderson et al. 2017 (arXiv 1705.00652), section
4.4 (the other pairs of a batch as negatives); Gao et al. 2021 (arXiv 2104.08821), section 2.1 (cosines over a temperature).
"""

import tensorflow as tf

from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.model.training.objectives.objective import Batch, Objective, Sums

# In front of the names of the inputs that are a pair's second text.
PAIR = "pair_"


def embedding_objective(temperature: float, group_size: int) -> Objective:
    """The objective whose negatives are the other pairs of a group: `group_size` rows that follow one another.

    A group is never divided, so that the loss is the same on any number of replicas and in any number of micro-batches.
    """

    def pair_sums(task: TextEmbedder, batch: Batch, training: bool) -> Sums:
        """The sums of a batch of rows and, under names that begin with `pair_`, of their pairs."""
        firsts = {name: value for name, value in batch.items() if not name.startswith(PAIR)}
        seconds = {name.removeprefix(PAIR): value for name, value in batch.items() if name.startswith(PAIR)}
        vectors = [
            tf.math.l2_normalize(tf.cast(task(side, training=training), tf.float32), axis=-1)
            for side in (firsts, seconds)
        ]
        dim = vectors[0].shape[-1]
        first, second = (tf.reshape(side, [-1, group_size, dim]) for side in vectors)
        logits = tf.matmul(first, second, transpose_b=True) / temperature
        logits = tf.reshape(logits, [-1, group_size])
        count = tf.shape(logits)[0]
        labels = tf.math.floormod(tf.range(count), group_size)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return Sums(tf.reduce_sum(losses), tf.cast(count, tf.float32), tf.reduce_sum(tf.cast(right, tf.float32)))

    return Objective(pair_sums)
