"""What a student learns from a teacher: how far their outputs are apart, at a temperature.

Hinton et al. 2015 (arXiv 1503.02531), section 2: both distributions are softened by one temperature T, and the loss is multiplied
by T squared, so that its gradients are as large as those of the usual loss whatever T is.
"""

from dataclasses import dataclass

import tensorflow as tf

from clozekit.model.tasks.task import Task


@dataclass(frozen=True)
class Teacher:
    """A task that is not trained; source: what it was read from; sha256: of its weights; temperature and weight: of
    `DistillSettings`."""

    task: Task
    source: str
    sha256: str
    temperature: float
    weight: float


def class_divergence(student: tf.Tensor, teacher: tf.Tensor, temperature: float) -> tf.Tensor:
    """float32 (...): KL(teacher || student) of two softmaxes of logits (..., C), in nats, times the square of the temperature."""
    students, teachers = (tf.nn.log_softmax(tf.cast(one, tf.float32) / temperature) for one in (student, teacher))
    return temperature**2 * tf.reduce_sum(tf.exp(teachers) * (teachers - students), axis=-1)


def label_divergence(student: tf.Tensor, teacher: tf.Tensor, temperature: float) -> tf.Tensor:
    """float32 (...): KL(teacher || student) of labels that are there or not, for their logits (...), in nats, times the square
    of the temperature."""
    students, teachers = (tf.cast(one, tf.float32) / temperature for one in (student, teacher))
    apart = [
        tf.math.sigmoid(sign * teachers) * (tf.math.log_sigmoid(sign * teachers) - tf.math.log_sigmoid(sign * students))
        for sign in (1.0, -1.0)
    ]
    return temperature**2 * (apart[0] + apart[1])
