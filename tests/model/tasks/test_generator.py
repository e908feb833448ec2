"""A generator beside a discriminator, in every family: what they share, packed rows, each of them alone, presets."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
import tensorflow as tf
from long_variants import DISTINCT

from clozekit.model import Backbone, MaskedLM, TextClassifier
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.presets.load_presets import open_source
from clozekit.tokenizers.common.errors import InputError


def both(family: str, preprocessor: Any = None) -> Any:
    task = families.masked_lm(family, preprocessor, families.GROUPS.get(family), **generator_of(family))
    families.randomize(task, seed=3)
    return task


def generator_of(family: str) -> dict[str, int]:
    # As many blocks as ALBERT has groups.
    return {**families.generator_sizes(family), **({"num_generator_layers": 2} if family == "albert" else {})}


def disentangled(family: str, preprocessor: Any = None) -> Any:
    sizes = {**generator_of(family), "disentangled_embeddings": True}
    return families.masked_lm(family, preprocessor, families.GROUPS.get(family), **sizes)


def paths(weights: list[keras.Variable]) -> set[str]:
    return {weight.path for weight in weights}


@pytest.mark.parametrize("family", families.NAMES)
def test_a_generator_shares_the_tables_and_their_norm_and_has_blocks_of_its_own(family: str) -> None:
    task = both(family)
    of_generator = {id(weight) for weight in task.generator.weights}
    shared = paths([weight for weight in task.backbone.weights if id(weight) in of_generator])
    own = [weight for weight in task.generator.weights if weight.path not in shared]
    assert own and all(weight.path.startswith("generator_") for weight in own)
    assert paths(task.weights) == {
        *paths(task.backbone.weights),
        *paths(own),
        *paths(task.masked_lm_head.weights),
    } | paths(task.detection_head.weights)
    assert len(paths(task.weights)) == len(task.weights)
    tables = ("embeddings", "embeddings_layer_norm/gamma", "embeddings_layer_norm/beta")
    assert all(path.endswith(tables) and "rel_embedding" not in path for path in shared)
    assert any("token_embedding" in path for path in shared) and "embeddings_layer_norm/gamma" in shared
    assert ("position" in "".join(shared)) == task.backbone.has_position_table
    # What it gives follows the discriminator's table, which its head reads in reverse, and none of its blocks.
    rows = families.batch(family)
    before = np.asarray(task.masked_logits(rows))
    for weight in task.detection_variables():
        if weight.path not in shared:
            weight.assign(weight + 1)
    assert np.array_equal(task.masked_logits(rows), before)
    table = task.backbone.token_embedding.embeddings
    table.assign(table * 2)
    assert not np.allclose(task.masked_logits(rows), before)


@pytest.mark.parametrize("family", families.NAMES)
def test_both_see_each_document_of_a_packed_row_as_if_it_were_alone(family: str) -> None:
    task, dice = both(family), np.random.default_rng(0)
    ids = dice.integers(5, task.backbone.vocabulary_size, (1, 11)).astype("int32")
    documents = np.array([[1] * 4 + [2] * 6 + [0]], "int32")
    segments = {"segment_ids": np.zeros_like(ids)} if family in families.WITH_SEGMENTS else {}
    packed = {"token_ids": ids, "padding_mask": (documents > 0).astype("int32"), "document_ids": documents, **segments}
    places = np.array([[1, 3, 4, 9]], "int32")
    masked = np.asarray(task.masked_logits({**packed, "mask_positions": places}))[0]
    detected = np.asarray(task.detection_logits(packed))[0]
    for begin, end, slots in ((0, 4, (0, 1)), (4, 10, (2, 3))):
        alone = {name: value[:, begin:end] for name, value in packed.items() if name != "document_ids"}
        slots = list(slots)
        found = np.asarray(task.masked_logits({**alone, "mask_positions": places[:, slots] - begin}))[0]
        np.testing.assert_allclose(found, masked[slots], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(task.detection_logits(alone)[0], detected[begin:end], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", DISTINCT)
def test_each_of_the_two_alone_is_what_it_was_and_they_come_together_again(family: str) -> None:
    task, rows = both(family), families.batch(family)
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    alone, discriminator = task.generator_alone(), task.discriminator_alone()
    assert alone.generator is None and alone.backbone.hidden_dim == generator_of(family)["generator_hidden_dim"]
    assert np.array_equal(alone.masked_logits(rows), task.masked_logits(rows))
    assert np.array_equal(discriminator(inputs), task.detection_logits(inputs))
    again = both(family)
    families.randomize(again, seed=8)
    table = again.backbone.token_embedding.embeddings
    others = again.take_generator(alone)
    assert table.path in others and all("layer_" not in path.replace("embeddings_layer_norm", "") for path in others)
    again.backbone.set_weights(task.backbone.get_weights())
    assert again.take_generator(alone) == []
    assert np.array_equal(again.masked_logits(rows), task.masked_logits(rows))


@pytest.mark.parametrize("family", DISTINCT)
def test_a_preset_keeps_both_as_no_task_of_keras_hub(family: str, tmp_path: Path) -> None:
    task, preset = both(family, families.masked_lm_preprocessor(family)), str(tmp_path / "preset")
    task.save_to_preset(preset)
    again = MaskedLM.from_preset(preset)
    assert type(again) is type(task) and again.head_settings() == task.head_settings()
    assert all((a == b).all() for a, b in zip(again.get_weights(), task.get_weights(), strict=True))
    # Its head is the generator's, and would be taken for the backbone's.
    assert not (tmp_path / "preset" / "task.json").exists() and not task.goes_to_keras_hub
    assert open_source(preset).head_settings("text_classifier") is None
    for other in (Backbone.from_preset(preset), TextClassifier.from_preset(preset, num_classes=2).backbone):
        assert all((a == b).all() for a, b in zip(other.get_weights(), task.backbone.get_weights(), strict=True))


@pytest.mark.parametrize("family", ["bert", "electra", "deberta_v3"])
def test_a_keras_file_keeps_both(family: str, tmp_path: Path) -> None:
    task, rows = both(family), families.batch(family)
    task.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(again.masked_logits(rows), task.masked_logits(rows))
    assert np.array_equal(again.detection_logits(rows), task.detection_logits(rows))


def test_a_generator_of_modern_bert_has_the_kinds_of_the_first_blocks() -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    changes = {"num_layers": 3, "layer_types": kinds}
    task = families.masked_lm("modern_bert", None, changes, **families.generator_sizes("modern_bert"))
    assert task.generator.block_types() == tuple(kinds[:2])


def test_what_can_share_no_embeddings_is_refused() -> None:
    backbone = families.backbone("bert")
    with pytest.raises(InputError, match="embeddings must be those of a RobertaBackbone, got a BertBackbone's"):
        families.backbone("roberta", embeddings=backbone)
    with pytest.raises(InputError, match="num_layers must be a multiple of num_groups, got 1 and 2"):
        families.masked_lm("albert", None, families.GROUPS["albert"], **families.generator_sizes("albert"))


@pytest.mark.parametrize("family", families.NAMES)
def test_tables_of_its_own_begin_as_the_discriminators_and_neither_loss_reaches_the_others(family: str) -> None:
    of_family = families.family(family)
    sizes = {**generator_of(family), "disentangled_embeddings": True}
    fresh = of_family.masked_lm(families.backbone(family, **families.GROUPS.get(family, {})), compile=False, **sizes)
    pairs = fresh.differing_tables()
    named = [table.path.rsplit("/", 2)[-2] for table, _ in pairs]
    wanted = ["token_embedding", "position_embedding"] if fresh.backbone.has_position_table else ["token_embedding"]
    assert named == [*wanted, *(["segment_embedding"] if family in families.WITH_SEGMENTS else [])]
    assert all(own is not table and own.path == f"generator_{table.path}" for table, own in pairs)
    assert all(np.array_equal(own, table) for table, own in pairs)
    task = disentangled(family)
    assert len(paths(task.weights)) == len(task.weights)
    assert not {id(weight) for weight in task.generator.weights} & {id(weight) for weight in task.backbone.weights}
    rows = families.batch(family)
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    tables = [table.value for table, _ in task.differing_tables()]
    own = [table.value for _, table in task.differing_tables()]
    with tf.GradientTape(persistent=True) as tape:
        masked = tf.reduce_sum(task.masked_logits(rows) ** 2)
        detected = tf.reduce_sum(task.detection_logits(inputs) ** 2)
    assert all(one is None for one in [*tape.gradient(masked, tables), *tape.gradient(detected, own)])
    assert all(one is not None for one in [*tape.gradient(masked, own), *tape.gradient(detected, tables)])


@pytest.mark.parametrize("family", DISTINCT)
def test_both_with_tables_of_their_own_are_kept_taken_apart_and_grown(family: str, tmp_path: Path) -> None:
    task, rows = disentangled(family, families.masked_lm_preprocessor(family)), families.batch(family)
    families.randomize(task, seed=3)
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    task.save_to_preset(str(tmp_path / "preset"))
    again = MaskedLM.from_preset(str(tmp_path / "preset"))
    assert again.head_settings() == task.head_settings() and again.is_disentangled
    assert all((a == b).all() for a, b in zip(again.get_weights(), task.get_weights(), strict=True))
    alone, discriminator = task.generator_alone(), task.discriminator_alone()
    assert np.array_equal(alone.masked_logits(rows), task.masked_logits(rows))
    assert np.array_equal(discriminator(inputs), task.detection_logits(inputs))
    assert "disentangled_embeddings" not in alone.head_settings()
    families.randomize(again, seed=8)
    # The generator's own tables come with it, and are no others than the discriminator's that anybody could miss.
    assert again.take_generator(alone) == []
    assert np.array_equal(again.masked_logits(rows), task.masked_logits(rows))
    wider = with_vocabulary(task, task.backbone.vocabulary_size + 3)
    back = with_vocabulary(wider, task.backbone.vocabulary_size)
    assert all((a == b).all() for a, b in zip(back.get_weights(), task.get_weights(), strict=True))
    assert not any(np.asarray(table)[-3:].any() for table in wider.token_tables())
    size = task.backbone.vocabulary_size
    grown = with_added_tokens(task, ["foxtrot"])
    pieces = task.preprocessor.tokenizer.encode_batch(["foxtrot"]).token_ids
    for table, before in zip(grown.token_tables(), task.token_tables(), strict=True):
        np.testing.assert_allclose(
            np.asarray(table)[size], np.asarray(before)[np.asarray(pieces)].mean(axis=0), rtol=1e-5, atol=1e-7
        )


def test_tables_of_its_own_are_of_a_generator() -> None:
    with pytest.raises(InputError, match="a generator needs all of num_generator_layers, .* give all, or none"):
        families.masked_lm("bert", None, None, disentangled_embeddings=True)


@pytest.mark.parametrize("family", families.NAMES)
def test_fit_trains_the_generator_and_the_shared_table_alone(family: str) -> None:
    task = both(family, families.masked_lm_preprocessor(family))
    trained = {id(weight) for weight in task.trainable_weights}
    assert trained == {
        id(weight) for weight in [*task.generator.trainable_weights, *task.masked_lm_head.trainable_weights]
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.masked_logits(families.batch(family)) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in task.trainable_weights])
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("family", DISTINCT)
def test_a_step_of_ones_own_is_traced_with_autograph_without_a_warning(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    task, rows = both(family), families.batch(family)
    batch = {**rows, "mask_ids": np.full(rows["mask_positions"].shape, 7, "int32")}
    batch["mask_weights"] = np.ones(rows["mask_positions"].shape, "float32")
    inputs = {name: value for name, value in rows.items() if name != "mask_positions"}
    packed = {**inputs, "document_ids": np.cumsum(np.eye(1, 12, 5, dtype="int32"), axis=1).repeat(3, 0) + 1}

    @tf.function
    def step() -> tf.Tensor:
        loss, _ = task.masked_sums(batch, training=True)
        return loss + tf.reduce_sum(task.detection_logits(packed, training=True))

    assert np.isfinite(step())
    assert not [record for record in caplog.records if "AutoGraph" in record.getMessage()]
