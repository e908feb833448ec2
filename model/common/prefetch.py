"""Batches made while the step runs, by a tf.data pipeline that ends at once when it is no longer wanted."""

import tensorflow as tf

# With autotuning off, tf.data's own choice could grow to thousands of batches.
BATCHES_AHEAD = 8


def prefetch(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, up to BATCHES_AHEAD of them made before they are asked for."""
    return without_autotuning(batches.prefetch(BATCHES_AHEAD))


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset, its parallel maps on as many threads as the machine has cores, at most 16.

    An iterator whose dataset is tuned may, when it ends, wait for the next round of tuning. Rounds come 10 ms after
    its start, 20 ms later and so on up to a minute (tensorflow/core/framework/model.h, kOptimizationPeriodMaxMs): a
    training that was told to stop would hang for so long.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
