"""Averages of weights: the running one of a run, by its rule, kept in checkpoints; the mean of several checkpoints."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_commands import run_command

from clozekit.model import MaskedLM
from clozekit.model.presets.mean_of_presets import mean_of_presets
from clozekit.model.training.controller import Run
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.settings.loop_settings import CheckpointSettings, OptimizerSettings
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError

MODEL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)


def weights_of(preset: str) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in MaskedLM.from_preset(preset, compile=False).get_weights()]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def config(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    return RunSettings(
        dataset[0],
        str(tmp_path_factory.mktemp("averages") / "run"),
        model=MODEL,
        train=TrainSettings(steps=6, global_batch_size=8, micro_batch_size=4, steps_per_loop=2, xla=False),
        optimizer=OptimizerSettings(learning_rate=3e-3, ema_decay=0.5),
        checkpoint=CheckpointSettings(every_steps=2, keep=9),
        evaluate=EvaluateSettings(every_steps=2, max_rows=16),
    )


@pytest.fixture(scope="module")
def trained(config: RunSettings) -> tuple[Run, dict[str, float]]:
    run = Run(config)
    return run, run.train()


def test_a_dry_run_counts_what_an_optimizer_holds(config: RunSettings) -> None:
    def held(**changes: Any) -> float:
        settings = dataclasses.replace(config.optimizer, **changes)
        return float(Run(dataclasses.replace(config, optimizer=settings)).optimizer_bytes())

    moments = held(name="adamw", ema_decay=None)
    # But for single numbers, like the count of updates.
    assert moments / 8 == pytest.approx(Run(config).task.count_params(), rel=0.1)
    assert held(name="adamw") / moments == pytest.approx(1.5, abs=0.01)
    assert held(name="lion") / moments == pytest.approx(1.0, abs=0.01)
    assert held(name="adafactor", ema_decay=None) / moments < 0.3


def test_the_average_follows_its_rule() -> None:
    variable = keras.Variable([1.0, -1.0], name="kernel")
    optimizer = Optimizer([variable], OptimizerSettings(ema_decay=0.15, weight_decay=0.0), xla=True)
    optimizer.begin_averages()
    expected, gradients = np.array([1.0, -1.0]), [[0.5, 1.0], [float("nan"), 0.0], [0.1, -1.0], [0.3, 0.3]]
    updates = 0
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], tf.constant(0.1))
        if np.isfinite(gradient).all():
            decay = min(0.15, updates / (updates + 9))
            expected = decay * expected + (1 - decay) * np.asarray(variable)
            updates += 1
    np.testing.assert_allclose(optimizer.averages[0], expected, rtol=1e-6)
    before = np.asarray(variable)
    with optimizer.averaged():
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(optimizer.averages[0]))
    np.testing.assert_array_equal(np.asarray(variable), before)


def test_evaluations_the_preset_and_checkpoints_have_the_average(trained: tuple[Run, dict[str, float]]) -> None:
    run, metrics = trained
    saved, values = run.checkpoints.at(6)
    averaged = weights_of(f"{run.directory}/preset")
    assert equal(averaged, weights_of(f"{run.directory}/latest"))
    kernel = next(name for name in values if name.startswith("average/") and name.endswith("kernel"))
    assert not np.array_equal(values[kernel], values[kernel.replace("average/", "model/")])
    assert run.evaluate()["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
    assert saved.validation_loss == metrics["loss"]
    run.restore()
    assert abs(run.evaluate()["loss"] - metrics["loss"]) > 1e-6
    with run.averaged():
        assert run.evaluate()["loss"] == metrics["loss"]


def test_training_goes_on_from_the_weights_and_a_resumed_average_is_the_same(
    trained: tuple[Run, dict[str, float]], config: RunSettings, tmp_path: Path
) -> None:
    run, _ = trained
    directory = tmp_path / "run"
    shutil.copytree(run.directory, directory)
    shutil.rmtree(directory / "preset")
    for step in (4, 6):
        shutil.rmtree(directory / "checkpoints" / f"step-{step:08d}")
    again = Run(dataclasses.replace(config, directory=str(directory)))
    again.train()
    one, other = run.checkpoints.at(6)[1], again.checkpoints.at(6)[1]
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    # The average changes nothing of the course.
    plain = dataclasses.replace(
        config,
        directory=str(tmp_path / "plain"),
        optimizer=dataclasses.replace(config.optimizer, ema_decay=None),
    )
    without = Run(plain)
    without.train()
    values = without.checkpoints.at(6)[1]
    assert all(np.array_equal(one[name], values[name]) for name in values)


def test_the_mean_of_checkpoints_is_a_preset(trained: tuple[Run, dict[str, float]], tmp_path: Path) -> None:
    run = trained[0].directory
    words = ["convert", f"{run}/step-2", f"{run}/step-4", f"{run}/latest", str(tmp_path / "mean"), "--to", "clozekit"]
    run_command(words)
    found = weights_of(str(tmp_path / "mean"))
    three = [weights_of(f"{run}/step-{step}") for step in (2, 4, 6)]
    for value, *parts in zip(found, *three, strict=True):
        np.testing.assert_allclose(value, np.mean(np.asarray(parts, np.float64), axis=0), rtol=1e-6, atol=1e-9)


def test_what_is_not_of_one_model_has_no_mean(trained: tuple[Run, dict[str, float]], tmp_path: Path) -> None:
    run = trained[0].directory
    task: Any = MaskedLM.from_preset(f"{run}/preset")
    settings = {**task.backbone.settings(), "activation": "relu"}
    type(task)(type(task.backbone)(**settings), task.preprocessor).save_to_preset(str(tmp_path / "relu"))
    with pytest.raises(InputError, match="differ in activation"):
        mean_of_presets([f"{run}/preset", str(tmp_path / "relu")])
    with pytest.raises(InputError, match="a mean is of at least two presets"):
        mean_of_presets([run])
