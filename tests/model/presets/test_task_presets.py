"""Tasks and presets: `from_preset` with its options, the same bytes whenever one is saved, `.keras` files."""

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
from long_variants import DISTINCT

import clozekit.model
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(params=families.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=DISTINCT)
def distinct(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked LM of each family, under the family's name."""
    root = tmp_path_factory.mktemp("presets")
    for name in families.NAMES:
        families.masked_lm(name, families.masked_lm_preprocessor(name)).save_to_preset(str(root / name))
    return root


def assert_equal_weights(one: Any, other: Any) -> None:
    assert [weight.path for weight in one.weights] == [weight.path for weight in other.weights]
    for left, right in zip(one.weights, other.weights, strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes(), left.path


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_the_base_class_finds_the_family(name: str, presets: Path) -> None:
    task = clozekit.model.MaskedLM.from_preset(str(presets / name))
    assert type(task) is families.family(name).masked_lm
    assert_equal_weights(task, families.masked_lm(name))
    assert task.preprocessor.sequence_length == 16
    assert task.preprocessor.tokenizer.sha256() == families.tokenizer(name).sha256()


@pytest.mark.slow
def test_options_of_from_preset(distinct: str, presets: Path) -> None:
    preset = str(presets / distinct)
    cls = families.family(distinct).masked_lm
    assert cls.from_preset(preset, preprocessor=None).preprocessor is None
    fresh = cls.from_preset(preset, load_weights=False)
    saved = families.masked_lm(distinct)
    # Truncated at two standard deviations of 0.02.
    assert np.abs(np.asarray(fresh.backbone.token_embedding.embeddings)).max() <= 0.0401
    assert np.abs(np.asarray(saved.backbone.token_embedding.embeddings)).max() > 0.5
    half = cls.from_preset(preset, dtype="mixed_bfloat16", preprocessor=None)
    assert half.backbone.dtype_policy.name == half.masked_lm_head.dtype_policy.name == "mixed_bfloat16"
    longer = families.family(distinct).masked_lm_preprocessor.from_preset(preset, sequence_length=24)
    assert (longer.sequence_length, longer.mask_selection_length) == (24, 4)
    other = cls.from_preset(preset, preprocessor=longer)
    assert other.preprocessor is longer
    with pytest.raises(TypeError, match="it was given sequence_length too"):
        cls.from_preset(preset, sequence_length=24)
    with pytest.raises(InputError, match=r"32 positions .* rows of 40"):
        cls.from_preset(preset, preprocessor=families.masked_lm_preprocessor(distinct, sequence_length=40))


def test_options_of_a_backbone(presets: Path) -> None:
    preset = str(presets / "bert")
    backbone = clozekit.model.Backbone.from_preset(preset, dropout=0.5, trainable=False, name="body", dtype="bfloat16")
    assert (backbone.dropout, backbone.trainable, backbone.name) == (0.5, False, "body")
    assert backbone.dtype_policy.name == "bfloat16"
    assert_equal_weights(clozekit.model.BertBackbone.from_preset(preset, dropout=0.5), families.backbone("bert"))
    assert clozekit.model.Backbone.from_preset(preset, load_weights=False, num_layers=2).num_layers == 2
    with pytest.raises(InputError, match="must hold the weights of the BertBackbone"):
        clozekit.model.Backbone.from_preset(preset, hidden_dim=32)
    with pytest.raises(TypeError, match="it was given drop_out too"):
        clozekit.model.Backbone.from_preset(preset, drop_out=0.5)


def test_presets_of_base_classes() -> None:
    everything = set(clozekit.model.Tokenizer.presets)
    bases = ("Backbone", "Task", "MaskedLM", "TextClassifier", "Preprocessor", "MaskedLMPreprocessor")
    for cls in bases:
        assert set(getattr(clozekit.model, cls).presets) == everything, cls
    assert set(clozekit.model.RobertaBackbone.presets) == {
        "roberta_base_en", "roberta_large_en", "xlm_roberta_base_multi", "xlm_roberta_large_multi"
    }  # fmt: skip
    assert set(clozekit.model.XLMRobertaMaskedLM.presets) == {"xlm_roberta_base_multi", "xlm_roberta_large_multi"}


@pytest.mark.slow
def test_a_classifier_of_a_masked_lm(name: str, presets: Path) -> None:
    classifier = clozekit.model.TextClassifier.from_preset(str(presets / name), num_classes=4)
    assert type(classifier) is families.family(name).text_classifier
    assert classifier.num_classes == 4
    assert_equal_weights(classifier.backbone, families.backbone(name))
    if name in DISTINCT:
        # In a graph, which takes long to trace, for one of them.
        classifier.run_eagerly = name != "bert"
        assert classifier.predict(families.TEXTS, verbose=0).shape == (4, 4)
    with pytest.raises(TypeError, match="needs num_classes: .* was saved without such a head"):
        clozekit.model.TextClassifier.from_preset(str(presets / name))


def test_roberta_classes_load_xlm_roberta(presets: Path) -> None:
    preset = str(presets / "xlm_roberta")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = clozekit.model.RobertaMaskedLM.from_preset(preset)
    assert type(task) is clozekit.model.XLMRobertaMaskedLM
    assert type(clozekit.model.RobertaTextClassifier.from_preset(preset, num_classes=2)) is (
        clozekit.model.XLMRobertaTextClassifier
    )
    assert type(clozekit.model.RobertaBackbone.from_preset(preset)) is clozekit.model.XLMRobertaBackbone
    assert type(clozekit.model.RobertaMaskedLMPreprocessor.from_preset(preset)) is (
        clozekit.model.XLMRobertaMaskedLMPreprocessor
    )
    with pytest.raises(InputError, match="XLMRobertaMaskedLM loads presets of its own family"):
        clozekit.model.XLMRobertaMaskedLM.from_preset(str(presets / "roberta"))


def test_saving_twice_gives_the_same_bytes(name: str, presets: Path, tmp_path: Path) -> None:
    task = clozekit.model.MaskedLM.from_preset(str(presets / name))
    task.save_to_preset(str(tmp_path / "again"))
    first = contents(presets / name)
    described = "task.json" if task.is_of_keras_hub else "clozekit.json"
    assert {"config.json", "model.weights.h5", described, "task.weights.h5", "tokenizer.json"} <= set(first)
    assert contents(tmp_path / "again") == first
    # Onto what stands there.
    task.save_to_preset(str(tmp_path / "again"))
    assert contents(tmp_path / "again") == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_a_trained_task_comes_back(presets: Path, tmp_path: Path) -> None:
    task = clozekit.model.MaskedLM.from_preset(str(presets / "bert"))
    task.compile(run_eagerly=True)
    task.fit(families.TEXTS, batch_size=2, verbose=0)
    task.save_to_preset(str(tmp_path / "trained"))
    assert_equal_weights(clozekit.model.MaskedLM.from_preset(str(tmp_path / "trained")), task)
    # Nothing of the optimizer but what a fresh one has: its moments are no part of a preset.
    size = (tmp_path / "trained" / "task.weights.h5").stat().st_size
    assert size == (presets / "bert" / "task.weights.h5").stat().st_size


# ELECTRA's classifier has a head of its own; those that are missing are BERT's but for the backbone.
KERAS_FILES = [
    *((name, "masked_lm") for name in families.NAMES),
    *((name, "text_classifier") for name in dict.fromkeys((*DISTINCT, "electra"))),
]


@pytest.mark.parametrize(("name", "kind"), KERAS_FILES)
def test_keras_files(name: str, kind: str, tmp_path: Path) -> None:
    options = {"seed": 5, "whole_word_masking": True} if kind == "masked_lm" else {}
    preprocessor = getattr(families, f"{kind}_preprocessor")(name, **options)
    task = getattr(families, kind)(name, preprocessor)
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert type(loaded) is type(task)
    assert_equal_weights(loaded, task)
    assert loaded.preprocessor.own_options() == preprocessor.own_options()
    assert loaded.preprocessor.get_config() == preprocessor.get_config()
    assert loaded.preprocessor.tokenizer.sha256() == families.tokenizer(name).sha256()
    rows = families.batch(name)
    if kind == "text_classifier":
        rows.pop("mask_positions")
    np.testing.assert_allclose(loaded(rows), task(rows), rtol=1e-6)


def test_keras_files_without_a_preprocessor(distinct: str, tmp_path: Path) -> None:
    task = families.masked_lm(distinct, head_activation="relu", head_layer_norm_epsilon=1e-3)
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert loaded.preprocessor is None
    assert loaded.head_settings() == task.head_settings()
    rows = families.batch(distinct)
    np.testing.assert_allclose(loaded(rows), task(rows), rtol=1e-6)
    backbone = families.backbone(distinct)
    backbone.trainable = False
    backbone.save(tmp_path / "backbone.keras")
    loaded_backbone = keras.saving.load_model(tmp_path / "backbone.keras")
    assert not loaded_backbone.trainable
    assert loaded_backbone.get_config() == backbone.get_config()
