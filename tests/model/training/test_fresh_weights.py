"""The weights of a run: its seed decides them, and whoever builds it keeps the random numbers that he had."""

import random

import keras
import numpy as np
import tensorflow as tf

from clozekit.model.common.weights_seed import weights_seed
from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings


def drawn() -> list[float]:
    return [random.random(), float(np.random.rand()), float(tf.random.uniform(())), float(keras.random.uniform(()))]


def test_building_a_task_leaves_the_random_numbers_alone() -> None:
    model = ModelSettings(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    settings = RunSettings(dataset="none", directory="none", seed=7, model=model)
    keras.utils.set_random_seed(3)
    drawn()
    expected = drawn()
    keras.utils.set_random_seed(3)
    drawn()
    tasks = [build_task(settings, from_scratch(settings.model, 16, 8))]
    assert drawn() == expected
    keras.utils.set_random_seed(4)
    tasks.append(build_task(settings, from_scratch(settings.model, 16, 8)))
    for one, other in zip(*(task.weights for task in tasks), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_are_those_that_keras_gives_the_seed() -> None:
    keras.utils.set_random_seed(5)
    expected = np.asarray(keras.initializers.GlorotUniform()((3, 4)))
    with weights_seed(5):
        found = np.asarray(keras.initializers.GlorotUniform()((3, 4)))
    np.testing.assert_array_equal(found, expected)
