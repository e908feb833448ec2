"""Learning rates as plain functions of the step."""

import tensorflow as tf


def linear_warmup_and_decay(step: tf.Tensor, peak: float, warmup_steps: int, num_steps: int) -> tf.Tensor:
    """float32: rises to `peak` over `warmup_steps`, then falls in a straight line to 0 at `num_steps` (BERT's schedule).

    step counts from 0; the first step has a rate above 0, the last one too.
    """
    done = tf.cast(step, tf.float32) + 1.0
    warmup_steps = max(1, warmup_steps)
    rising = done / float(warmup_steps)
    falling = (num_steps + 1.0 - done) / float(max(1, num_steps + 1 - warmup_steps))
    return peak * tf.clip_by_value(tf.minimum(rising, falling), 0.0, 1.0)
