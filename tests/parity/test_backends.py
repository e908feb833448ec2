"""The models run on PyTorch and JAX without TensorFlow, with the outputs they have on it.

Needs torch and jax of the extra `parity`; the backend of Keras is chosen once a process, so each runs in its own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families
from long_variants import PARITY_FULL as FULL

import clozekit.model

SCRIPT = """
import sys

# An import of it fails.
sys.modules["tensorflow"] = sys.modules["tensorflow_text"] = None

import keras
import numpy as np

from clozekit.model import Backbone, MaskedLM, TextClassifier

root, backend, *names = sys.argv[1:]
assert keras.backend.backend() == backend


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def numpy(value):
    return keras.ops.convert_to_numpy(value)


def close(ours, expected):
    assert np.abs(numpy(ours) - expected).max() <= 1e-4 * max(1, np.abs(expected).max()), (ours, expected)


for family in names:
    task = MaskedLM.from_preset(f"{root}/{family}")
    rows, expected = arrays(f"{root}/{family}.rows.npz"), arrays(f"{root}/{family}.expected.npz")
    labels = rows.pop("mask_ids"), rows.pop("mask_weights")
    rows = {name: keras.ops.convert_to_tensor(value) for name, value in rows.items()}
    close(task(rows), expected["logits"])
    batch = {**rows, "mask_ids": labels[0], "mask_weights": labels[1]}
    batch = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
    close(task.masked_sums(batch)[0], expected["loss"])
    hidden = task.encode(rows)
    close(task.masked_lm_head.loss_and_correct(hidden, rows["mask_positions"], *labels)[0], expected["loss"])
    packed = {**rows, "document_ids": keras.ops.convert_to_tensor(expected["document_ids"])}
    close(task(packed), expected["packed"])
    loss = task.compute_loss(x=rows, y=labels[0], y_pred=task(rows), sample_weight=labels[1])
    close(loss, expected["mean_loss"])
    # Trains on integers; its preprocessor, which makes them of strings, is TensorFlow's affair.
    preprocessor, task.preprocessor = task.preprocessor, None
    task.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    before = float(numpy(loss))
    for _ in range(2):
        task.train_on_batch(rows, labels[0], sample_weight=labels[1])
    loss = task.compute_loss(x=rows, y=labels[0], y_pred=task(rows), sample_weight=labels[1])
    assert float(numpy(loss)) < before
    task.preprocessor = preprocessor
    task.save_to_preset(f"{root}/{family}.{backend}")
    again = MaskedLM.from_preset(f"{root}/{family}.{backend}")
    for one, other in zip(task.weights, again.weights, strict=True):
        assert (numpy(one) == numpy(other)).all(), one.path
    half = Backbone.from_preset(f"{root}/{family}", dtype="mixed_bfloat16")
    half({name: value for name, value in rows.items() if name != "mask_positions"})
    classifier = TextClassifier.from_preset(f"{root}/{family}", num_classes=2, preprocessor=None)
    assert classifier({name: value for name, value in rows.items() if name != "mask_positions"}).shape == (3, 2)
assert sys.modules["tensorflow"] is None
print("ran")
"""


@pytest.fixture(scope="module")
def made_on_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of each family, a batch, and what the batch gives."""
    root = tmp_path_factory.mktemp("backends")
    for name in families.NAMES:
        task = families.masked_lm(name, families.masked_lm_preprocessor(name))
        task.save_to_preset(str(root / name))
        rows = families.batch(name)
        ids, weights = families.labels(name, rows)
        # The first half of each row, and the second, as documents of their own.
        document_ids = (1 + (np.arange(12) >= 6))[None, :] * rows["padding_mask"]
        expected: dict[str, Any] = {
            "logits": task(rows),
            "loss": task.masked_sums({**rows, "mask_ids": ids, "mask_weights": weights})[0],
            "mean_loss": task.compute_loss(x=rows, y=ids, y_pred=task(rows), sample_weight=weights),
            "packed": task({**rows, "document_ids": document_ids}),
            "document_ids": document_ids,
        }
        np.savez(root / f"{name}.rows.npz", mask_ids=ids, mask_weights=weights, **rows)
        np.savez(root / f"{name}.expected.npz", **{key: np.asarray(value) for key, value in expected.items()})
    return root


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_backend_without_tensorflow(backend: str, made_on_tensorflow: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; it comes with the extra `parity`")
    # JAX compiles every operation by itself: optimizing it would take longer than running it.
    quick = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment = {**os.environ, "KERAS_BACKEND": backend, **quick}
    # RoBERTa's layers are BERT's; JAX compiles for a minute for all four.
    names = families.NAMES if FULL or backend == "torch" else ("bert", "albert")
    command = [sys.executable, "-c", SCRIPT, str(made_on_tensorflow), backend, *names]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split() == ["ran"]
    # What it trained and saved loads here.
    for name in names:
        task = clozekit.model.MaskedLM.from_preset(str(made_on_tensorflow / f"{name}.{backend}"))
        assert np.isfinite(np.asarray(task(families.batch(name)))).all()
