"""The rate of masks over a run: a straight line from one rate to another, by the number of the step."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class MaskRates:
    """first: of step 0; final: of step num_steps - 1; in between a straight line.

    Source: Ankner et al. 2023 (arXiv 2305.15096), where a line from 30% to 15% was the best of the schedules.

    Example:

        >>> import tensorflow as tf
        >>> from clozekit.model.masking.mask_rates import MaskRates
        >>> [round(float(MaskRates(0.3, 0.15, 4).at(tf.constant(step))), 3) for step in (0, 1, 3)]
        [0.3, 0.25, 0.15]
    """

    first: float
    final: float
    num_steps: int

    @property
    def highest(self) -> float:
        return max(self.first, self.final)

    def at(self, step: tf.Tensor) -> tf.Tensor:
        """float64 scalar: the rate of `step`, an integer scalar."""
        share = tf.cast(step, tf.float64) / max(1, self.num_steps - 1)
        return self.first + (self.final - self.first) * share
