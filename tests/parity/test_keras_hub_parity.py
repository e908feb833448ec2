"""The same weights in Clozekit's models and KerasHub's: hidden states, logits, losses and gradients are the same.

The weights go through a preset directory, saved by one library and loaded by the other. Needs the extra `parity`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
import tensorflow as tf

keras_hub = pytest.importorskip("keras_hub")

import clozekit.model  # noqa: E402
from clozekit.tokenizers.common.family_names import FAMILIES  # noqa: E402

TOLERANCE = 1e-5


def hub_class(name: str, kind: str) -> Any:
    return getattr(keras_hub.models, FAMILIES[name].prefix + kind)


def hub_backbone(name: str, **changes: Any) -> Any:
    """KerasHub's backbone of the small sizes, with random weights."""
    settings = {"vocabulary_size": families.tokenizer(name).vocabulary_size(), **families.SIZES}
    if name == "albert":
        settings |= {"embedding_dim": 8, "num_layers": 4, "num_groups": 2, "num_inner_repetitions": 2}
    built = hub_class(name, "Backbone")(**{**settings, **changes})
    families.randomize(built, seed=5)
    return built


@dataclass(frozen=True)
class Pair:
    """One of ours and one of KerasHub's with the same weights."""

    name: str
    ours: Any
    theirs: Any
    preset: str


@pytest.fixture(scope="module", params=families.IN_KERAS_HUB)
def masked_lms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    preset = str(tmp_path_factory.mktemp("presets") / request.param)
    ours = families.masked_lm(request.param, families.masked_lm_preprocessor(request.param))
    ours.save_to_preset(preset)
    return Pair(request.param, ours, keras_hub.models.MaskedLM.from_preset(preset), preset)


@pytest.fixture(scope="module", params=families.IN_KERAS_HUB)
def text_classifiers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    preset = str(tmp_path_factory.mktemp("presets") / request.param)
    ours = families.text_classifier(request.param, families.text_classifier_preprocessor(request.param))
    ours.save_to_preset(preset)
    return Pair(request.param, ours, keras_hub.models.TextClassifier.from_preset(preset), preset)


def assert_same(ours: Any, theirs: Any, what: str = "") -> None:
    """Within TOLERANCE of the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    assert np.abs(ours - theirs).max() <= TOLERANCE * max(np.abs(theirs).max(), 1e-3), what


def without(rows: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in rows.items() if name not in names}


def gradients(task: Any, loss: Any) -> dict[str, np.ndarray]:
    """Path of each trainable variable that the loss reaches -> its gradient, dense."""
    with tf.GradientTape() as tape:
        value = loss()
    variables = {variable.path: variable.value for variable in task.trainable_variables}
    found = tape.gradient(value, variables)
    return {path: tf.convert_to_tensor(gradient).numpy() for path, gradient in found.items() if gradient is not None}


def assert_same_gradients(pair: Pair, loss_of: Callable[[Any], Any]) -> None:
    """Equal in float64, and within TOLERANCE in float32; loss_of: task -> loss.

    ALBERT's in float32 are compared by the largest of all gradients: its layers are used several times over, and the
    gradients of its queries and keys are so small that KerasHub's own lie up to 1e-3 from its float64 ones.
    """
    exact = {}
    for whose, task in (("ours", pair.ours), ("theirs", pair.theirs)):
        precise = type(task).from_preset(pair.preset, preprocessor=None, dtype="float64")
        exact[whose] = gradients(precise, lambda precise=precise: loss_of(precise))
    ours, theirs = (gradients(task, lambda task=task: loss_of(task)) for task in (pair.ours, pair.theirs))
    assert set(ours) == set(theirs) == set(exact["ours"]) == set(exact["theirs"])
    largest = {path: np.abs(gradient).max() for path, gradient in exact["theirs"].items()}
    for path in largest:
        # Not DeBERTa V3's: its keys are multiplied with relative positions too.
        if path.endswith("key/bias") and pair.name != "deberta_v3":
            # It moves every score of a query alike, so its gradient is zero: what there is, is rounding.
            exact["theirs"][path] = np.zeros_like(exact["theirs"][path])
            largest[path] = largest[path.removesuffix("bias") + "kernel"]
        assert largest[path] > 1e-5, path

    whole = max(largest.values())
    # KerasHub's softmax of DeBERTa V3 is one of float32 always.
    rounding = 1e-6 if pair.name == "deberta_v3" else 1e-12
    for path, expected in exact["theirs"].items():
        assert np.abs(exact["ours"][path] - expected).max() <= rounding * largest[path], path
        scale = whole if pair.name == "albert" else largest[path]
        assert np.abs(ours[path] - theirs[path]).max() <= TOLERANCE * scale, path


def test_the_task_is_of_the_family(masked_lms: Pair) -> None:
    assert type(masked_lms.theirs) is hub_class(masked_lms.name, "MaskedLM")
    ours = {variable.path: tuple(variable.shape) for variable in masked_lms.ours.weights}
    assert ours == {variable.path: tuple(variable.shape) for variable in masked_lms.theirs.weights}


def test_hidden_states_and_pooled_output(masked_lms: Pair) -> None:
    rows = without(families.batch(masked_lms.name), "mask_positions")
    ours, theirs = masked_lms.ours.backbone(rows), masked_lms.theirs.backbone(rows)
    real = rows["padding_mask"] == 1
    if masked_lms.name in families.WITH_SEGMENTS:
        assert set(ours) == set(theirs) == {"sequence_output", "pooled_output"}
        assert_same(ours["pooled_output"], theirs["pooled_output"])
        ours, theirs = ours["sequence_output"], theirs["sequence_output"]
    assert_same(ours[real], theirs[real])


def test_rows_as_long_as_the_positions_go(masked_lms: Pair) -> None:
    length = families.SIZES["max_sequence_length"]
    rows = families.batch(masked_lms.name, length=length)
    assert rows["mask_positions"].max() == length - 1
    assert_same(masked_lms.ours(rows), masked_lms.theirs(rows))


def test_logits(masked_lms: Pair) -> None:
    rows = families.batch(masked_lms.name)
    logits = masked_lms.theirs(rows)
    assert_same(masked_lms.ours(rows), logits)
    assert_same(masked_lms.ours.masked_logits(rows), logits)


def test_segments_and_padding_are_felt(masked_lms: Pair) -> None:
    # Otherwise the tests above would say little.
    rows = families.batch(masked_lms.name)
    logits = np.asarray(masked_lms.ours(rows))
    assert np.abs(masked_lms.ours({**rows, "padding_mask": np.ones_like(rows["padding_mask"])}) - logits).max() > 0.01
    if "segment_ids" in rows:
        other = {**rows, "segment_ids": 1 - rows["segment_ids"]}
        assert np.abs(masked_lms.ours(other) - logits).max() > 0.01
        assert_same(masked_lms.ours(other), masked_lms.theirs(other))


def test_losses_and_gradients(masked_lms: Pair) -> None:
    rows = families.batch(masked_lms.name)
    ids, weights = families.labels(masked_lms.name, rows)
    batch = {**rows, "mask_ids": ids, "mask_weights": weights}

    def loss_of(task: Any) -> Any:
        if isinstance(task, clozekit.model.MaskedLM):
            return task.masked_sums(batch, training=True)[0]
        losses = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        return losses(ids, task(rows, training=True), sample_weight=weights)

    assert_same(masked_lms.ours.masked_sums(batch)[0], loss_of(masked_lms.theirs))
    assert_same_gradients(masked_lms, loss_of)


def test_the_compiled_loss_is_a_mean_over_masks_and_theirs_one_over_slots(masked_lms: Pair) -> None:
    rows = families.batch(masked_lms.name)
    ids, weights = families.labels(masked_lms.name, rows)
    losses = {}
    for whose, task in (("ours", masked_lms.ours), ("theirs", masked_lms.theirs)):
        compiled = task.compute_loss(x=rows, y=ids, y_pred=task(rows), sample_weight=weights)
        losses[whose] = float(compiled)
    assert weights.sum() < weights.size
    assert losses["ours"] * weights.sum() == pytest.approx(losses["theirs"] * weights.size, rel=TOLERANCE)


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_what_they_save_gives_the_same_logits_in_ours(name: str, tmp_path: Path) -> None:
    # A dropout rate sends their attention down another path, at inference too.
    task = hub_class(name, "MaskedLM")(hub_backbone(name, dropout=0.1))
    families.randomize(task.masked_lm_head, seed=6)
    families.randomize(task.backbone, seed=5)
    task.save_to_preset(str(tmp_path / "preset"))
    ours = clozekit.model.MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert ours.backbone.dropout == 0.1
    rows = families.batch(name)
    assert_same(ours(rows), task(rows))
    assert_same(ours.predict(rows, verbose=0), task(rows))


def test_classes_and_their_gradients(text_classifiers: Pair) -> None:
    rows = without(families.batch(text_classifiers.name), "mask_positions")
    assert type(text_classifiers.theirs) is hub_class(text_classifiers.name, "TextClassifier")
    assert_same(text_classifiers.ours(rows), text_classifiers.theirs(rows))

    def loss_of(task: Any) -> Any:
        return task.compute_loss(x=rows, y=np.array([0, 2, 1]), y_pred=task(rows, training=True))

    assert_same(loss_of(text_classifiers.ours), loss_of(text_classifiers.theirs))
    assert_same_gradients(text_classifiers, loss_of)


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_classifiers_that_they_save(name: str, tmp_path: Path) -> None:
    own = {"hidden_dim": 12} if name not in families.WITH_SEGMENTS else {}
    task = hub_class(name, "TextClassifier")(
        hub_backbone(name), num_classes=4, activation="softmax", dropout=0.2, **own
    )
    families.randomize(task, seed=7)
    task.save_to_preset(str(tmp_path / "preset"))
    ours = clozekit.model.TextClassifier.from_preset(str(tmp_path / "preset"), preprocessor=None)
    assert (ours.num_classes, ours.activation, ours.dropout) == (4, keras.activations.softmax, 0.2)
    rows = without(families.batch(name), "mask_positions")
    assert_same(ours(rows), task(rows))
    # Another number of classes: the backbone is theirs, the head fresh.
    other = clozekit.model.TextClassifier.from_preset(str(tmp_path / "preset"), preprocessor=None, num_classes=2)
    assert other(rows).shape == (3, 2)
    assert (
        np.asarray(other.backbone.token_embedding.embeddings) == np.asarray(task.backbone.token_embedding.embeddings)
    ).all()
    assert np.abs(np.asarray(other.output_dense.bias)).max() == 0


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_updates_of_the_default_optimizer(name: str, tmp_path: Path) -> None:
    """One step of `train_on_batch` with every slot used, where the two losses agree."""
    ours = families.masked_lm(name)
    ours.save_to_preset(str(tmp_path / "preset"))
    theirs = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "preset"), preprocessor=None)
    rows = families.batch(name)
    ids, _ = families.labels(name, rows)
    weights = np.ones(ids.shape, "float32")
    results = []
    for task in (ours, theirs):
        # SGD: Adam's first step is the sign of the gradient, which rounding decides where it is 0.
        task.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        loss, accuracy = task.train_on_batch(rows, ids, sample_weight=weights)
        results.append((float(loss), float(accuracy)))
    np.testing.assert_allclose(results[0], results[1], rtol=TOLERANCE)
    after = {variable.path: variable for variable in theirs.weights}
    for variable in ours.weights:
        assert_same(variable, after[variable.path], variable.path)
