"""An optimizer, a schedule, a masking and objectives as a user would write them, named in configurations of tests."""

from typing import Any

import tensorflow as tf

from clozekit.model.masking.mask_rows import RowsToMask
from clozekit.model.training.objectives.objective import Sums


def momentum(
    value: tf.Tensor,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    decays: bool,
    config: Any,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradient descent with momentum; the second moment stays unused."""
    first = config.beta_1 * first + gradient
    return first + (config.weight_decay if decays else 0.0) * value, first, second


def inverse_square_root(progress: tf.Tensor, warmup: float, config: Any) -> tf.Tensor:
    return config.learning_rate * tf.minimum(progress / warmup, tf.sqrt(warmup / progress))


def later_words(rows: RowsToMask) -> tf.Tensor:
    """Of each row those of its words' first pieces that are drawn best, in its second half alone."""
    length = rows.token_ids.shape[1]
    allowed = rows.word_begins & rows.selectable & (tf.range(length)[None, :] >= length // 2)
    scores = tf.where(allowed, rows.scores, -1)
    order = tf.argsort(tf.argsort(scores, axis=1, direction="DESCENDING"), axis=1)
    return allowed & (order < rows.wanted[:, None])


def smoothed(task: Any, batch: Any, training: bool) -> Sums:
    """Cross-entropy of the masked tokens with a tenth of the target spread over the vocabulary."""
    logits = tf.cast(task.masked_logits(batch, training), tf.float32)
    logs = tf.nn.log_softmax(logits)
    right = tf.gather(logs, batch["mask_ids"], batch_dims=2)
    losses = -(0.9 * right + 0.1 * tf.reduce_mean(logs, axis=-1))
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), batch["mask_ids"])
    weights = batch["mask_weights"]
    return Sums(
        tf.reduce_sum(losses * weights), tf.reduce_sum(weights), tf.reduce_sum(tf.cast(hits, tf.float32) * weights)
    )


def focal(task: Any, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The focal loss of classes (Lin et al. 2017), as a plain tuple."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = tf.cast(task(inputs, training=training), tf.float32)
    logs = tf.gather(tf.nn.log_softmax(logits), batch["labels"], batch_dims=1)
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), batch["labels"])
    losses = -tf.square(1.0 - tf.exp(logs)) * logs
    return tf.reduce_sum(losses), tf.cast(tf.shape(logits)[0], tf.float32), tf.reduce_sum(tf.cast(hits, tf.float32))


# What is wrong with each is in its name.


def too_few_arguments(value: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return value + gradient


def change_alone(value: tf.Tensor, *_: Any) -> tf.Tensor:
    return value


def loss_alone(task: Any, batch: Any, training: bool) -> tf.Tensor:
    return tf.constant(1.0)


def loss_and_count(task: Any, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(1.0), tf.constant(2.0)


def losses_of_rows(task: Any, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return tf.ones([2]), tf.ones([2]), tf.zeros([2])


def no_number(progress: tf.Tensor, warmup: float, config: Any) -> tf.Tensor:
    return progress / 0.0


def fails(*_: Any) -> tf.Tensor:
    raise ZeroDivisionError("by my own fault\nand more")


def numbers(rows: RowsToMask) -> tf.Tensor:
    return rows.scores


NOT_A_FUNCTION = 3
