"""The weights of a run: its seed decides them, and whoever builds it keeps the random numbers that he had."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from clozekit.model.common.weights_seed import weights_seed
from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES


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


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_and_embeddings_spread_as_far_as_the_run_says(family: str) -> None:
    def weights(spread: float | None) -> dict[str, np.ndarray]:
        sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
        model = ModelSettings(family, initializer_range=spread, **sizes)
        settings = RunSettings("none", "none", seed=7, model=model)
        task = build_task(settings, from_scratch(settings.model, 16, 8))
        return {weight.path: np.asarray(weight) for weight in task.trainable_variables}

    usual, wide, again = weights(None), weights(0.06), weights(0.02)
    matrices = [path for path, value in usual.items() if path.endswith(("kernel", "embeddings", "rel_embedding"))]
    assert len(matrices) >= 8
    for path, value in usual.items():
        np.testing.assert_array_equal(again[path], value)
        np.testing.assert_allclose(wide[path], value * (3 if path in matrices else 1), rtol=1e-5, err_msg=path)


def test_only_fresh_weights_have_a_spread() -> None:
    with pytest.raises(InputError, match="model.initializer_range is for fresh weights.*got 0.06; leave it out"):
        RunSettings("none", "none", init_from="bert_tiny_en_uncased", model=ModelSettings(initializer_range=0.06))
    with pytest.raises(InputError, match="model.initializer_range must be above 0 and at most 1, got 0"):
        ModelSettings(initializer_range=0.0)
