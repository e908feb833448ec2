"""Ten steps of a toy model on the replicas of one process; run by test_replicas.py as processes of their own, because
TensorFlow's devices and collectives can't change once it is running.

replica_runs.py TARGET.npz REPLICAS JSON: a list like [{"micro_batch_size": 4, "xla": false, "dropout": 0.0}], each
trained once on sound rows and once with a row whose loss overflows. The environment says which cluster to join.
"""

import dataclasses
import json
import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf

from clozekit.model.training.architecture import architecture_of, from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.cluster.workers import Workers, start_workers
from clozekit.model.training.controller import pretraining_objective, pretraining_step
from clozekit.model.training.objectives.distillation import Teacher
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.settings.loop_settings import ClusterSettings, OptimizerSettings
from clozekit.model.training.settings.replaced_settings import ReplacedSettings
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings, TrainSettings

STEPS, ROWS, LENGTH, SLOTS = 10, 8, 12, 6
# Step, row and slot: on replica 1 of 2, and on replica 3 of 4, alone.
OVERFLOW = (3, 6, 0)


def toy_batches(overflow: bool, objective: str | None = None) -> dict[str, np.ndarray]:
    """Global batches whose rows hold very different numbers of masks, real tokens and, if asked for, pairs, so that a mean of means
    shows."""
    dice = np.random.default_rng(0)
    token_ids = dice.integers(5, 40, (STEPS, ROWS, LENGTH)).astype(np.int32)
    weights = (np.arange(SLOTS) < dice.integers(0, SLOTS + 1, (STEPS, ROWS, 1))).astype(np.float32)
    if overflow:
        weights[OVERFLOW] = 3e38
    padding = (np.arange(LENGTH) < dice.integers(SLOTS, LENGTH + 1, (STEPS, ROWS, 1))).astype(np.int32)
    return {
        "token_ids": token_ids,
        "padding_mask": padding,
        "mask_positions": dice.integers(0, SLOTS, (STEPS, ROWS, SLOTS)).astype(np.int32),
        "mask_ids": dice.integers(5, 40, (STEPS, ROWS, SLOTS)).astype(np.int32),
        "mask_weights": weights,
        **(toy_pairs(token_ids) if objective == "pairs" else {}),
        **(toy_dice() if objective == "replaced" else {}),
    }


def toy_pairs(token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Segments, and up to three pairs a row; those of the last two rows of eight have none."""
    dice = np.random.default_rng(1)
    labels = np.where(
        np.arange(LENGTH) < dice.integers(0, 4, (STEPS, ROWS, 1)), dice.integers(0, 2, token_ids.shape), -1
    )
    labels[:, 6:] = -1
    return {
        "segment_ids": dice.integers(0, 2, token_ids.shape).astype(np.int32),
        "pair_labels": labels.astype(np.int32),
    }


def toy_dice() -> dict[str, np.ndarray]:
    """Numbers for samples, and one segment; no two slots of a row name one position, of which only one could be replaced."""
    dice = np.random.default_rng(1)
    places = np.argsort(dice.random((STEPS, ROWS, SLOTS)), axis=-1)
    return {
        "segment_ids": np.zeros((STEPS, ROWS, LENGTH), np.int32),
        "mask_positions": np.sort(places, axis=-1).astype(np.int32),
        "mask_dice": dice.uniform(0.01, 0.99, (STEPS, ROWS, SLOTS)).astype(np.float32),
    }


class ToyTokenizer:
    """As much of a tokenizer as an architecture asks for."""

    def vocabulary_size(self) -> int:
        return 40


def toy_teacher(config: RunSettings) -> Teacher:
    """Another model, wider than the one that is trained, with other weights."""
    model = dataclasses.replace(config.model, hidden_dim=24)
    task = build_task(dataclasses.replace(config, seed=1), from_scratch(model, 40, LENGTH))
    task.trainable = False
    return Teacher(task, "toy", "", 2.0, 0.7)


def train(workers: Workers, settings: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """What came of training on sound rows ("sound") and with the overflow ("overflow")."""
    model = ModelSettings(
        settings.get("family"),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        dropout=settings.get("dropout", 0.0),
    )
    micro_batch_size, xla = settings.get("micro_batch_size"), settings.get("xla", False)
    # Of own_rules.py, beside this file.
    own = {"name": "own_rules:momentum", "schedule": "own_rules:inverse_square_root"} if settings.get("own") else {}
    config = RunSettings(
        "data",
        "run",
        objective="own_rules:smoothed" if own else settings.get("objective"),
        replaced=ReplacedSettings(disentangled=True) if settings.get("disentangled") else None,
        model=model,
        train=TrainSettings(
            steps=STEPS,
            global_batch_size=ROWS,
            micro_batch_size=micro_batch_size,
            xla=xla,
            recompute=settings.get("recompute", False),
        ),
        # A norm that most steps exceed: where it is measured matters.
        optimizer=OptimizerSettings(
            **{"name": settings.get("optimizer", "adamw"), **own},
            learning_rate=0.01,
            clip_norm=0.5,
            ema_decay=settings.get("ema_decay"),
        ),
    )
    with workers.strategy.scope():
        task = build_task(config, architecture_of(config, ToyTokenizer(), LENGTH))
        trained = pretraining_objective(config).variables(task)
        optimizer = Optimizer(trained, config.optimizer, xla, task.differing_tables())
        teacher = toy_teacher(config) if settings.get("teacher") else None
    step = pretraining_step(task, optimizer, config, workers.strategy, teacher)
    variables = [*(weight.value for weight in task.weights), *optimizer.first, *optimizer.second]
    variables += [*optimizer.averages, optimizer.updates]
    initial = [variable.numpy() for variable in variables]
    results = {}
    for name in ("sound", "overflow"):
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        batches = toy_batches(name == "overflow", config.objective)

        def batches_of(worker: int, num_workers: int, batches: dict[str, np.ndarray] = batches) -> tf.data.Dataset:
            share = ROWS // num_workers
            mine = {name: values[:, worker * share : (worker + 1) * share] for name, values in batches.items()}
            return tf.data.Dataset.from_tensor_slices(mine).repeat()

        result = step.run_loop(workers.deal(batches_of), tf.constant(0), tf.constant(STEPS))
        numbers = {key: np.asarray(getattr(result, key)) for key in ("skipped", "gradient_norm")}
        numbers |= {key: np.asarray(getattr(result.counts, key)) for key in ("tokens", "places")}
        weights = {f"w{index:02d}": np.asarray(value) for index, value in enumerate(task.get_weights())}
        with optimizer.averaged():
            weights |= {f"a{index:02d}": np.asarray(value) for index, value in enumerate(task.get_weights())}
        sums = {key: np.asarray(value) for key, value in result.sums._asdict().items()}
        numbers |= {
            "updates": optimizer.updates.numpy(),
            "second_moments": sum(int(np.prod(one.shape)) for one in optimizer.second),
        }
        results[name] = {**weights, **sums, **numbers}
    return results


def main(target: str, replicas: int, settings: list[dict[str, Any]]) -> None:
    """Trains once for each of the settings; one file holds what came out, the names with the number in front."""
    results = {}
    joined = start_workers(ClusterSettings(num_cpu_devices=replicas))
    for number, setting in enumerate(settings):
        for kind, result in train(joined, setting).items():
            results.update({f"{number}/{kind}/{name}": value for name, value in result.items()})
    assert not joined.any(False)
    assert joined.any(joined.spec.task_index == joined.spec.num_workers - 1)
    assert joined.chiefs(7 + joined.spec.task_index) == 7
    np.savez(target, **results)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
