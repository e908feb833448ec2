"""Tasks: raw strings and integers into `fit`, `evaluate` and `predict`; the loss; compilation; wrong inputs named."""

from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from long_variants import DISTINCT, FULL

import clozekit.model
from clozekit.model.families.family_table import TASK_KINDS, task_class
from clozekit.model.layers import masked_lm_head
from clozekit.model.tasks.raw_data import dataset
from clozekit.tokenizers.common.errors import InputError

# Tracing the step into a graph takes seconds, and is seldom what a test is about.
EAGER = {"run_eagerly": True}
PAIRS = (families.TEXTS, list(reversed(families.TEXTS)))
CLASSES = np.array([0, 1, 2, 1])


@pytest.fixture(params=families.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=DISTINCT)
def distinct(request: pytest.FixtureRequest) -> str:
    return request.param


def masked_lm(name: str, **options: Any) -> Any:
    task = families.masked_lm(name, families.masked_lm_preprocessor(name, **options))
    task.compile(**EAGER)
    return task


def text_classifier(name: str, **options: Any) -> Any:
    task = families.text_classifier(name, families.text_classifier_preprocessor(name), **options)
    task.compile(**EAGER)
    return task


def values(task: Any) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in task.trainable_variables]


def changed(task: Any, before: list[np.ndarray]) -> list[bool]:
    return [bool((new != old).any()) for new, old in zip(values(task), before, strict=True)]


# What the code blocks of KerasHub's documents do.


@pytest.mark.parametrize("kind", ["texts", "array", "dataset", "pairs", "pairs in a dataset"])
def test_fit_on_raw_text(kind: str) -> None:
    task = masked_lm("bert")
    before = values(task)
    x: Any = families.TEXTS
    if kind == "array":
        x = np.array(families.TEXTS, object)
    elif kind == "dataset":
        x = tf.data.Dataset.from_tensor_slices(families.TEXTS).batch(2)
    elif kind == "pairs":
        x = PAIRS
    elif kind == "pairs in a dataset":
        # The pair stands where x stands: (x,) or (x, y) is what a dataset's element means to Keras.
        x = tf.data.Dataset.from_tensor_slices(PAIRS).batch(2).map(lambda *pair: (pair,))
    history = task.fit(x, batch_size=None if "dataset" in kind else 2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert set(history.history) == {"loss", "sparse_categorical_accuracy"}
    assert all(changed(task, before))


def test_no_two_weights_have_one_path(name: str) -> None:
    """Checkpoints know weights by their paths."""
    for kind in TASK_KINDS:
        more = {"num_classes": 2} if kind in ("text_classifier", "token_classifier") else {}
        task = task_class(families.family(name), kind)(families.backbone(name), compile=False, **more)
        paths = [weight.path for weight in task.weights]
        assert len({*paths}) == len(paths), kind


def test_fit_on_raw_text_in_every_family(name: str) -> None:
    task = masked_lm(name)
    before = values(task)
    task.fit(families.TEXTS, batch_size=4, verbose=0)
    assert all(changed(task, before))
    if name in DISTINCT:
        assert task.predict(families.TEXTS, verbose=0).shape == (4, 3, families.tokenizer(name).vocabulary_size())
    assert task.predict_on_batch(families.TEXTS).shape == (4, 3, families.tokenizer(name).vocabulary_size())


def test_preprocessed_integers_as_python_lists(distinct: str) -> None:
    features = {
        "token_ids": [[1, 2, 0, 4, 0, 6, 7, 8]] * 2,
        "padding_mask": [[1, 1, 1, 1, 1, 1, 1, 1]] * 2,
        "mask_positions": [[2, 4]] * 2,
    }
    if distinct in families.WITH_SEGMENTS:
        features["segment_ids"] = [[0] * 8] * 2
    task = families.masked_lm(distinct)
    task.compile(**EAGER)
    before = values(task)
    loss = task.fit(x=features, y=[[3, 5]] * 2, batch_size=2, verbose=0).history["loss"][0]
    assert all(changed(task, before))
    assert 0 < task.evaluate(features, [[3, 5]] * 2, verbose=0)[0] < loss
    assert task.predict(features, verbose=0).shape[:2] == (2, 2)
    assert task.preprocessor is None


def test_compiling_again_with_xla_and_a_frozen_backbone() -> None:
    task = families.masked_lm("bert", families.masked_lm_preprocessor("bert"))
    task.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(5e-5),
        jit_compile=True,
    )
    assert task.jit_compile
    task.backbone.trainable = False
    backbone, head = ([np.asarray(w) for w in layer.weights] for layer in (task.backbone, task.masked_lm_head))
    task.fit(families.TEXTS, batch_size=2, verbose=0)
    assert all((np.asarray(w) == old).all() for w, old in zip(task.backbone.weights, backbone, strict=True))
    new_head = [np.asarray(w) for w in task.masked_lm_head.weights]
    # The last of the head's weights are the backbone's embedding.
    assert sum(bool((new != old).any()) for new, old in zip(new_head, head, strict=True)) == 5


def test_the_defaults_of_compile(name: str) -> None:
    rates = {"masked_lm": 5e-5, "text_classifier": 1e-5 if name == "albert" else 5e-5}
    for kind, task in (("masked_lm", families.masked_lm(name)), ("text_classifier", families.text_classifier(name))):
        assert isinstance(task.optimizer, keras.optimizers.Adam)
        assert float(task.optimizer.learning_rate) == pytest.approx(rates[kind])
        assert isinstance(task.loss, keras.losses.SparseCategoricalCrossentropy)
        assert not families.family(name).masked_lm(families.backbone(name), compile=False).compiled
        task.compile(optimizer="sgd", loss="auto")
        assert isinstance(task.optimizer, keras.optimizers.SGD)


def test_properties_and_presets(name: str) -> None:
    task = masked_lm(name)
    assert isinstance(task.backbone, families.family(name).backbone)
    assert isinstance(task.preprocessor, families.family(name).masked_lm_preprocessor)
    assert isinstance(task.preprocessor.tokenizer, families.family(name).tokenizer)
    expected = {
        "bert": "bert_base_en",
        "distil_bert": "distil_bert_base_en",
        "roberta": "roberta_large_en",
        "albert": "albert_extra_extra_large_en_uncased",
        "xlm_roberta": "xlm_roberta_base_multi",
        "electra": "electra_small_generator_uncased_en",
        "deberta_v3": "deberta_v3_extra_small_en",
    }.get(name)
    if expected is None:
        # KerasHub has no ModernBERT.
        assert name == "modern_bert" and type(task).presets == {}
        return
    assert expected in type(task).presets.keys()  # noqa: SIM118 - as the documents write it
    assert set(type(task).presets) <= set(clozekit.model.MaskedLM.presets)
    # XLM-RoBERTa's presets stand in RoBERTa's table, and load by its classes.
    assert ("xlm_roberta_large_multi" in type(task).presets) == (name in ("roberta", "xlm_roberta"))


def test_summary_and_configuration_read_well(name: str) -> None:
    lines: list[str] = []
    masked_lm(name).summary(print_fn=lambda line, **_: lines.append(line))
    assert lines[0].startswith(families.family(name).masked_lm_preprocessor.__name__)
    assert families.family(name).tokenizer.__name__ in lines[0]
    assert "mlm_head" in "\n".join(lines)


# The loss.


def test_the_loss_is_the_mean_over_masked_tokens_whatever_the_slots(distinct: str) -> None:
    task = families.masked_lm(distinct)
    task.compile(**EAGER)
    rows = families.batch(distinct, slots=2)
    ids, _ = families.labels(distinct, rows)
    losses = []
    for slots in (2, 5, 96):
        extra = [(0, 0), (0, slots - 2)]
        padded = {**rows, "mask_positions": np.pad(rows["mask_positions"], extra)}
        weights = np.pad(np.ones((3, 2), "float32"), extra)
        losses.append(float(task.test_on_batch(padded, np.pad(ids, extra), sample_weight=weights)[0]))
    logits = tf.cast(task(rows), tf.float64)
    expected = float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.slow
def test_evaluation_and_prediction_repeat_their_masks() -> None:
    task = masked_lm("bert")
    assert task.evaluate(families.TEXTS, verbose=0) == task.evaluate(families.TEXTS, verbose=0)
    assert (task.predict(families.TEXTS, verbose=0) == task.predict(families.TEXTS, verbose=0)).all()


class MasksSeen(keras.callbacks.Callback):
    """Wraps the loss so that it keeps the labels of every step."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.seen: list[list[Any]] = []
        original = task.train_step

        def train_step(data: Any) -> Any:
            self.seen.append(np.asarray(data[1]).tolist())
            return original(data)

        task.train_step = train_step


def masks_of_a_fit() -> list[list[Any]]:
    """The labels of the two steps of each of two epochs."""
    task = masked_lm("bert", seed=3)
    task.compile(run_eagerly=True, optimizer="sgd")
    watcher = MasksSeen(task)
    keras.utils.set_random_seed(0)
    task.fit(families.TEXTS * 2, batch_size=4, epochs=2, verbose=0, callbacks=[watcher])
    assert len(watcher.seen) == 4
    return watcher.seen


def test_masks_of_a_seeded_fit_repeat_and_differ_between_epochs() -> None:
    first = masks_of_a_fit()
    assert masks_of_a_fit() == first
    assert sorted(first[0] + first[1]) != sorted(first[2] + first[3])


def masks_of_the_data(seed: int | None, keras_seed: int) -> list[list[Any]]:
    """The labels of the two batches of each of two epochs, of what `fit` trains on without shuffling."""
    keras.utils.set_random_seed(keras_seed)
    preprocessor = families.masked_lm_preprocessor("bert", seed=seed)
    data = dataset(preprocessor, families.TEXTS * 2, None, None, 4, redraw=True)
    return [labels.numpy().tolist() for _ in range(2) for _, labels, _ in data]


@pytest.mark.slow
def test_a_seed_decides_the_masks_whatever_else_is_random() -> None:
    first = masks_of_the_data(seed=3, keras_seed=0)
    assert masks_of_the_data(seed=4, keras_seed=0) != first
    assert len({str(batch) for batch in first}) == 4
    unseeded = masks_of_the_data(seed=None, keras_seed=0)
    assert masks_of_the_data(seed=None, keras_seed=0) == unseeded
    assert masks_of_the_data(seed=None, keras_seed=1) != unseeded


@pytest.mark.slow
def test_the_loss_in_chunks_is_the_loss_of_the_logits(distinct: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = families.masked_lm(distinct)
    rows = families.batch(distinct, batch_size=4)
    ids, weights = families.labels(distinct, rows)
    hidden = tf.constant(task.encode(rows))
    head = task.masked_lm_head
    variables = [*head.trainable_variables]

    def dense() -> Any:
        logits = head(hidden, rows["mask_positions"])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == ids, tf.float32)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(right * weights)

    def chunked() -> Any:
        return head.loss_and_correct(hidden, rows["mask_positions"], ids, weights)

    def with_gradients(loss: Any) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            total, right = loss()
            # A factor, as the mean's or the loss scale's.
            scaled = 3.0 * total
        gradients = tape.gradient(scaled, [hidden, *(variable.value for variable in variables)])
        return [np.asarray(tf.convert_to_tensor(part)) for part in (total, right, *gradients)]

    expected = with_gradients(dense)
    # 12 positions: chunks of 1, of 5 (the last is not full) and all at once.
    for chunk in (1, 5, 12):
        monkeypatch.setattr(masked_lm_head, "CHUNK_LOGITS", chunk * families.tokenizer(distinct).vocabulary_size())
        # The compiler takes longer than all else, and sees the same loop in every family.
        is_compiled = chunk == 5 and (FULL or distinct == "bert")
        for loss in (chunked, tf.function(chunked, jit_compile=True)) if is_compiled else (chunked,):
            found = with_gradients(loss)
            for ours, dense_part in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, dense_part, rtol=1e-5, atol=1e-5 * np.abs(dense_part).max())


def test_long_batches_take_the_loss_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    task = families.masked_lm("bert")
    rows = families.batch("bert")
    ids, weights = families.labels("bert", rows)
    batch = {**{key: tf.constant(value) for key, value in rows.items()}, "mask_ids": ids, "mask_weights": weights}
    at_once = [float(part) for part in task.masked_sums(batch)]
    from clozekit.model.tasks import masked_lm

    monkeypatch.setattr(masked_lm, "MAX_LOGITS", 100)
    monkeypatch.setattr(masked_lm_head, "CHUNK_LOGITS", 100)
    monkeypatch.setattr(masked_lm_head.MaskedLMHead, "call", None)
    np.testing.assert_allclose([float(part) for part in task.masked_sums(batch)], at_once, rtol=1e-5)


@pytest.mark.slow
def test_one_chunk_of_the_loss_is_done_before_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the logits of up to ten chunks are held at once, as TensorFlow's loops do unless told."""
    task = families.masked_lm("bert")
    rows = families.batch("bert")
    ids, weights = families.labels("bert", rows)
    hidden = tf.constant(task.encode(rows))
    monkeypatch.setattr(masked_lm_head, "CHUNK_LOGITS", 100)
    head = task.masked_lm_head
    step = tf.function(lambda: head.loss_and_correct(hidden, rows["mask_positions"], ids, weights))
    operations = step.get_concrete_function().graph.get_operations()
    loops = [operation for operation in operations if operation.type in ("While", "StatelessWhile")]
    assert [loop.get_attr("parallel_iterations") for loop in loops] == [1]


def test_the_loss_in_chunks_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    task = families.family("bert").masked_lm(families.backbone("bert", dtype="mixed_bfloat16"))
    families.randomize(task, seed=1)
    rows = families.batch("bert")
    ids, weights = families.labels("bert", rows)
    hidden = tf.constant(task.encode(rows))
    assert hidden.dtype == tf.bfloat16
    logits = tf.cast(task.masked_lm_head(hidden, rows["mask_positions"]), tf.float32)
    expected = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits) * weights)
    monkeypatch.setattr(masked_lm_head, "CHUNK_LOGITS", 200)
    total, _ = task.masked_lm_head.loss_and_correct(hidden, rows["mask_positions"], ids, weights)
    assert total.dtype == tf.float32
    # Half precision: 8 bits.
    assert float(total) == pytest.approx(float(expected), rel=1e-2)


# Packed rows, precision.


def packed_and_alone(name: str) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Three documents in one row, the same in a row each, and where each of them ends in the packed row."""
    lengths = [5, 3, 7]
    dice = np.random.default_rng(3)
    documents = [dice.integers(0, families.tokenizer(name).vocabulary_size(), length).tolist() for length in lengths]
    masks = [[1, 3], [1], [0, 6]]
    starts = np.cumsum([0, *lengths])[:3]
    ids = [number + 1 for number, length in enumerate(lengths) for _ in range(length)] + [0]
    packed = {
        "token_ids": np.array([sum(documents, []) + [0]], np.int32),
        "padding_mask": np.array([[1] * 15 + [0]], np.int32),
        "document_ids": np.array([ids], np.int32),
        "mask_positions": np.array([[start + place for start, m in zip(starts, masks, strict=True) for place in m]]),
    }
    alone = {
        "token_ids": np.array([document + [0] * (7 - len(document)) for document in documents], np.int32),
        "padding_mask": np.array([[1] * length + [0] * (7 - length) for length in lengths], np.int32),
        "mask_positions": np.array([(m * 2)[:2] for m in masks], np.int32),
    }
    if name in families.WITH_SEGMENTS:
        segments = [[0] * (length // 2) + [1] * (length - length // 2) for length in lengths]
        packed["segment_ids"] = np.array([sum(segments, []) + [0]], np.int32)
        alone["segment_ids"] = np.array([row + [0] * (7 - len(row)) for row in segments], np.int32)
    return packed, alone, np.array([0, 1, 2, 4, 5])


def test_packed_rows_give_what_their_documents_give_alone(distinct: str) -> None:
    task = families.masked_lm(distinct)
    packed, alone, slots = packed_and_alone(distinct)
    ids = np.arange(5) + 5
    results = {}
    for whose, rows in (("packed", packed), ("alone", alone)):
        with tf.GradientTape() as tape:
            logits = tf.reshape(task(rows), (-1, task.backbone.vocabulary_size))
            logits = tf.gather(logits, slots) if whose == "alone" else logits
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits))
        gradients = tape.gradient(loss, [variable.value for variable in task.trainable_variables])
        results[whose] = [logits.numpy(), *(tf.convert_to_tensor(gradient).numpy() for gradient in gradients)]
    for one, other in zip(results["packed"], results["alone"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1, np.abs(other).max()))
    # Positions may come with the batch.
    positions = np.array([[*range(5), *range(3), *range(7), 0]])
    np.testing.assert_allclose(task({**packed, "positions": positions}), task(packed), rtol=1e-5, atol=1e-5)
    without = {key: value for key, value in packed.items() if key != "document_ids"}
    assert np.abs(task(without) - task(packed)).max() > 0.01


def test_text_classifiers_refuse_packed_rows() -> None:
    packed, _, _ = packed_and_alone("bert")
    packed.pop("mask_positions")
    with pytest.raises(InputError, match="can't take packed rows"):
        families.text_classifier("bert")(packed)


def test_a_row_longer_than_the_positions_is_refused() -> None:
    rows = families.batch("roberta", length=33)
    with pytest.raises(ValueError, match=r"at most 32 tokens for this model \(max_sequence_length\), got 33"):
        families.masked_lm("roberta")(rows)


def test_mixed_bfloat16(distinct: str) -> None:
    task = families.family(distinct).masked_lm(
        families.backbone(distinct, dtype="mixed_bfloat16"), families.masked_lm_preprocessor(distinct)
    )
    task.compile(**EAGER)
    rows = families.batch(distinct)
    assert task(rows).dtype == tf.bfloat16
    assert {variable.dtype for variable in task.weights} == {"float32"}
    full = families.family(distinct).masked_lm(families.backbone(distinct))
    full.set_weights(task.get_weights())
    difference = np.abs(np.asarray(tf.cast(task(rows), tf.float32)) - np.asarray(full(rows)))
    assert 0 < difference.max() < 0.05 * np.abs(np.asarray(full(rows))).max()
    assert np.isfinite(task.fit(families.TEXTS, batch_size=4, verbose=0).history["loss"][0])


# Text classifiers.


def test_a_text_classifier_learns_predicts_and_is_evaluated(distinct: str) -> None:
    task = text_classifier(distinct)
    task.compile(optimizer=keras.optimizers.Adam(1e-3), **EAGER)
    before = values(task)
    # One batch an epoch: the first loss is that of the weights it began with.
    losses = task.fit(families.TEXTS, CLASSES, batch_size=4, epochs=4, verbose=0).history["loss"]
    assert all(changed(task, before))
    assert task.evaluate(families.TEXTS, CLASSES, verbose=0)[0] < losses[0]
    logits = task.predict(families.TEXTS, verbose=0)
    assert logits.shape == (4, 3)
    np.testing.assert_allclose(task.predict_on_batch(families.TEXTS), logits, rtol=1e-4, atol=1e-5)
    integers = task.preprocessor(families.TEXTS)
    np.testing.assert_allclose(task(integers), logits, rtol=1e-4, atol=1e-5)


def test_probabilities() -> None:
    task = text_classifier("roberta", activation="softmax")
    np.testing.assert_allclose(task.predict(families.TEXTS, verbose=0).sum(axis=1), 1, rtol=1e-5)
    assert not task.loss.from_logits


def test_pairs_with_classes() -> None:
    task = text_classifier("bert")
    both = task.predict(PAIRS, verbose=0)
    assert np.abs(both - task.predict(families.TEXTS, verbose=0)).max() > 1e-3
    task.fit(PAIRS, CLASSES, batch_size=2, verbose=0)
    task.fit(tf.data.Dataset.from_tensor_slices((PAIRS, CLASSES)).batch(2), verbose=0)
    assert np.isfinite(task.train_on_batch(PAIRS, CLASSES)[0])
    assert np.isfinite(task.test_on_batch(PAIRS, CLASSES)[0])


def test_validation_and_weights() -> None:
    task = text_classifier("bert")
    split = task.fit(families.TEXTS, CLASSES, validation_split=0.5, verbose=0).history
    assert {"loss", "val_loss"} <= set(split)
    given = task.fit(families.TEXTS, CLASSES, validation_data=(families.TEXTS, CLASSES), verbose=0).history
    assert given["val_loss"][0] == pytest.approx(task.evaluate(families.TEXTS, CLASSES, verbose=0)[0], rel=1e-5)
    batches = tf.data.Dataset.from_tensor_slices((families.TEXTS, CLASSES)).batch(3)
    assert "val_loss" in task.fit(batches, validation_data=batches, verbose=0).history
    frozen = values(task)
    task.fit(families.TEXTS, CLASSES, sample_weight=np.zeros(4), verbose=0)
    task.fit(families.TEXTS, CLASSES, class_weight={0: 0.0, 1: 0.0, 2: 0.0}, verbose=0)
    # No example counts: Adam's moments of the steps before move the weights, the loss of these does not.
    assert task.evaluate(families.TEXTS, CLASSES, sample_weight=np.zeros(4), verbose=0)[0] == 0
    assert any(changed(task, frozen))


def test_fit_shuffles_unless_told_not_to() -> None:
    texts = [text for text in families.TEXTS for _ in range(8)]
    orders = {}
    for shuffle in (False, True):
        task = text_classifier("bert")
        watcher = MasksSeen(task)
        task.fit(texts, np.arange(32) % 3, batch_size=32, shuffle=shuffle, verbose=0, callbacks=[watcher])
        orders[shuffle] = watcher.seen[0]
    assert orders[False] == (np.arange(32) % 3).tolist()
    assert orders[True] != orders[False]
    assert sorted(orders[True]) == sorted(orders[False])


# Wrong inputs.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda task: task.fit(families.TEXTS[0], verbose=0), "take several texts, got one string; wrap it in a list"),
        (lambda task: task.predict(families.TEXTS[0]), "take several texts, got one string; wrap it in a list"),
        (lambda task: task.fit(families.batch("bert"), verbose=0), r"takes raw strings, got a dict \("),
        (lambda task: task.fit(np.ones((2, 8), "int32"), verbose=0), "takes strings of rank 0 or 1, got int32"),
        (lambda task: task.fit(tf.data.Dataset.from_tensors("a")), r"must be batches of strings, .*\(\.batch\(32\)\)"),
        (lambda task: task.fit(tf.data.Dataset.from_tensors([1])), "must be batches of strings, .*int32"),
        (lambda task: task.fit((text for text in ["a"]), verbose=0), "wrap it with tf.data.Dataset.from_generator"),
        (lambda task: task.fit(families.TEXTS, validation_split=1.5), "validation_split must be between 0 and 1"),
        (lambda task: task.fit(families.TEXTS[:1], validation_split=0.5), "leaves one side empty"),
        (
            lambda task: task.fit(tf.data.Dataset.from_tensors(["a"]), batch_size=2),
            "batch_size must stand in the dataset",
        ),
        (lambda task: task.fit((families.TEXTS, ["a"]), verbose=0), "must be batches of one length"),
    ],
)
def test_wrong_data_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(masked_lm("bert"))


@pytest.mark.parametrize("kind", ["masked_lm", "text_classifier"])
def test_parts_of_other_families_are_refused(name: str, kind: str) -> None:
    other = "bert" if name != "bert" else "roberta"
    options = {"num_classes": 2} if kind == "text_classifier" else {}
    cls = getattr(families.family(name), kind)
    with pytest.raises(
        InputError, match=r"needs a \w+Backbone, got a \w+Backbone; use the classes of one family and task"
    ):
        cls(families.backbone(other), **options)
    preprocessor = getattr(families, f"{kind}_preprocessor")
    with pytest.raises(InputError, match=r"needs a \w+Preprocessor, got a \w+Preprocessor"):
        cls(families.backbone(name), preprocessor=preprocessor(other), **options)
    other_kind = "text_classifier" if kind == "masked_lm" else "masked_lm"
    with pytest.raises(InputError, match=r"needs a \w+Preprocessor, got a \w+Preprocessor"):
        cls(
            families.backbone(name),
            preprocessor=getattr(families, f"{other_kind}_preprocessor")(name),
            **options,
        )


def test_a_preprocessor_that_does_not_fit_the_backbone_is_refused() -> None:
    with pytest.raises(InputError, match=r"it has 66 pieces and the backbone 60 rows \(vocabulary_size\)"):
        families.masked_lm("bert", families.masked_lm_preprocessor("bert"), backbone_changes={"vocabulary_size": 60})
    with pytest.raises(InputError, match=r"the backbone's 32 positions \(max_sequence_length\), .* rows of 64"):
        families.masked_lm("bert", families.masked_lm_preprocessor("bert", sequence_length=64))
    task = families.masked_lm("bert")
    with pytest.raises(InputError, match="32 positions"):
        task.preprocessor = families.masked_lm_preprocessor("bert", sequence_length=64)


@pytest.mark.parametrize("kind", ["masked_lm", "text_classifier"])
def test_unknown_arguments_are_errors(name: str, kind: str) -> None:
    options = {"num_classes": 2} if kind == "text_classifier" else {}
    with pytest.raises(TypeError, match="nonsense"):
        getattr(families.family(name), kind)(families.backbone(name), nonsense=1, **options)
    with pytest.raises((TypeError, ValueError), match="nonsense"):
        families.backbone(name, nonsense=1)
