"""Learning rates as plain functions of how far the run is, from 0 to 1: in steps, or in the time it may take."""

import math

import tensorflow as tf

from clozekit.model.common.own_code import is_own, load_own
from clozekit.model.training.settings.loop_settings import OptimizerSettings

# Smith and Topin 2017 (arXiv 1708.07120): up from and down to a small rate in equal times, then far below it.
ONE_CYCLE_LOWEST, ONE_CYCLE_HALF = 0.04, 0.45


def step_progress(step: tf.Tensor, num_steps: int) -> tf.Tensor:
    """Above 0 at the first step (0), below 1 at the last: no step has a rate of 0."""
    return (tf.cast(step, tf.float32) + 1.0) / (num_steps + 1.0)


def warmup_share(config: OptimizerSettings, num_steps: int) -> float:
    """Where the peak is, for the progress of `step_progress`: after a whole number of steps, at least one."""
    return max(1, round(config.warmup_rate * num_steps)) / (num_steps + 1.0)


def learning_rate(progress: tf.Tensor, warmup: float, config: OptimizerSettings) -> tf.Tensor:
    """The learning rate when a share of the run is done.

    Args:
        progress: float32 scalar or (num_steps,), 0 to 1.
        warmup: where the peak is, 0 to 1; `warmup_share` gives it.
        config: the peak and the schedule behind it.

    Returns:
        float32, of the shape of `progress`.

    Source: linear: Devlin et al. 2018 (arXiv 1810.04805), appendix A.2; warmup_stable_decay with 1 - square root: Haegele et
    al. 2024 (arXiv 2405.18392); one_cycle: Smith and Topin 2017 (arXiv 1708.07120).

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.training.schedules import learning_rate
        >>> from clozekit.model.training.settings.run_settings import OptimizerSettings
        >>> settings = OptimizerSettings(learning_rate=1.0, schedule="linear")
        >>> learning_rate(tf.constant([0.0, 0.1, 0.2, 0.6, 1.0]), warmup=0.2, config=settings).numpy().round(3).tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    progress = tf.clip_by_value(progress, 0.0, 1.0)
    if is_own(config.schedule):
        own = load_own("optimizer.schedule", config.schedule, ("progress", "warmup", "config"))
        return tf.convert_to_tensor(own(progress, warmup, config))
    if config.schedule == "one_cycle":
        return config.learning_rate * _one_cycle(progress)
    # A share of 1 is a run that only warms up.
    done = tf.clip_by_value((progress - warmup) / max(1.0 - warmup, 1e-9), 0.0, 1.0)
    left = config.final_rate + (1.0 - config.final_rate) * _decay(done, warmup, config)
    rising = progress / warmup if warmup > 0 else tf.ones_like(progress)
    return config.learning_rate * tf.where(progress < warmup, rising, left)


def _decay(done: tf.Tensor, warmup: float, config: OptimizerSettings) -> tf.Tensor:
    """1 to 0 as `done`, the share of the run behind the warm-up, goes from 0 to 1."""
    if config.schedule == "constant":
        return tf.ones_like(done)
    if config.schedule == "linear":
        return 1.0 - done
    if config.schedule == "polynomial":
        return tf.pow(1.0 - done, config.decay_power)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + tf.cos(math.pi * done))
    # Warmup-stable-decay with 1 - sqrt, the best of those tried by Haegele et al. 2024 (arXiv 2405.18392).
    share = min(1.0, config.decay_rate / max(1.0 - warmup, 1e-9))
    return 1.0 - tf.sqrt(tf.clip_by_value((done - (1.0 - share)) / max(share, 1e-9), 0.0, 1.0))


def _one_cycle(progress: tf.Tensor) -> tf.Tensor:
    distance = tf.abs(progress - ONE_CYCLE_HALF) / ONE_CYCLE_HALF
    cycle = 1.0 - (1.0 - ONE_CYCLE_LOWEST) * tf.minimum(distance, 1.0)
    end = ONE_CYCLE_LOWEST * (1.0 - progress) / (1.0 - 2 * ONE_CYCLE_HALF)
    return tf.where(progress <= 2 * ONE_CYCLE_HALF, cycle, end)
