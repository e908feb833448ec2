"""Presets: saved, loaded, the same outputs; what is no preset is refused by the file's name."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from clozekit.model import (
    AlbertMaskedLM,
    BertBackbone,
    BertMaskedLM,
    BertMaskedLMPreprocessor,
    BertTextClassifier,
    BertTextClassifierPreprocessor,
    DebertaV3MaskedLM,
    MaskedLM,
    RobertaMaskedLM,
    TextClassifier,
    XLMRobertaTextClassifier,
)
from clozekit.model.families.family_table import family_named
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS


@pytest.fixture(scope="module")
def task(tokenizer: BertTokenizer) -> BertMaskedLM:
    keras.utils.set_random_seed(0)
    backbone = BertBackbone(tokenizer.vocabulary_size(), 2, 2, 16, 32, max_sequence_length=16)
    task = BertMaskedLM(backbone, BertMaskedLMPreprocessor(tokenizer, sequence_length=16, seed=3))
    task.masked_lm_head._output_bias.assign(keras.random.normal((tokenizer.vocabulary_size(),)))
    return task


def same_weights(a: Any, b: Any) -> bool:
    return all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [MaskedLM, BertMaskedLM])
def test_a_loaded_preset_gives_the_same_outputs(cls: type[MaskedLM], task: BertMaskedLM, tmp_path: Path) -> None:
    task.save_to_preset(str(tmp_path / "preset"))
    loaded = cls.from_preset(str(tmp_path / "preset"))
    assert type(loaded) is BertMaskedLM
    assert loaded.preprocessor is not None and task.preprocessor is not None
    assert loaded.preprocessor.get_config() == task.preprocessor.get_config()
    assert loaded.preprocessor.tokenizer.sha256() == task.preprocessor.tokenizer.sha256()
    assert same_weights(loaded, task)
    text = "the [MASK] sat on the [MASK] ."
    assert loaded.fill_mask(text) == task.fill_mask(text)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_the_files_are_laid_out_as_keras_hub_reads_them(
    task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    task.save_to_preset(str(tmp_path / "preset"))
    files = {
        path.relative_to(tmp_path / "preset").as_posix() for path in (tmp_path / "preset").rglob("*") if path.is_file()
    }
    assert files == {
        "config.json", "task.json", "preprocessor.json", "tokenizer.json", "metadata.json", "clozekit.json",
        "model.weights.h5", "task.weights.h5", "assets/tokenizer/vocabulary.txt", ".clozekit-files.json",
    }  # fmt: skip
    config = json.loads((tmp_path / "preset" / "config.json").read_text(encoding="utf-8"))
    assert config["registered_name"] == "keras_hub>BertBackbone"
    assert set(config["config"]) == {
        "name", "trainable", "dtype", "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim",
        "dropout", "max_sequence_length", "num_segments",
    }  # fmt: skip
    # What KerasHub has no place for stands beside it.
    own = json.loads((tmp_path / "preset" / "clozekit.json").read_text(encoding="utf-8"))
    assert own == {"preprocessor": {"mask_selection_length": None, "seed": 3}}
    with h5py.File(tmp_path / "preset" / "model.weights.h5") as file:
        shapes = {name: file[name].shape for name in (
            "layers/reversible_embedding/vars/0",
            "layers/position_embedding/vars/0",
            "layers/embedding/vars/0",
            "layers/dense/vars/0",
            "layers/transformer_encoder_1/_self_attention_layer/query_dense/vars/0",
            "layers/transformer_encoder/_feedforward_intermediate_dense/vars/0",
        )}  # fmt: skip
    vocabulary_size = tokenizer.vocabulary_size()
    assert list(shapes.values()) == [(vocabulary_size, 16), (16, 16), (2, 16), (16, 16), (16, 2, 8), (16, 32)]
    with h5py.File(tmp_path / "preset" / "task.weights.h5") as file:
        assert file["layers/masked_lm_head/vars/0"].shape == (vocabulary_size,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"must hold config\.json"),
        ("model.weights.h5", None, r"must hold model\.weights\.h5"),
        ("task.weights.h5", None, r"must hold task\.weights\.h5"),
        ("tokenizer.json", None, r"must hold tokenizer\.json"),
        ("assets/tokenizer/vocabulary.txt", None, r"vocabulary\.txt"),
        ("config.json", b"{", r"config\.json must be JSON, it is damaged"),
        (
            "config.json",
            b'{"class_name": "GemmaBackbone", "config": {}}',
            "must be one of BertBackbone.*'GemmaBackbone'",
        ),
        ("config.json", b'{"class_name": "BertBackbone", "config": {"head_dim": 3}}', "it has head_dim too"),
        ("config.json", b'{"a": 1}', "it is neither"),
        ("model.weights.h5", b"cut", "must hold the weights of the BertBackbone"),
        ("task.weights.h5", b"cut", "must hold the head of the BertMaskedLM"),
    ],
)
def test_what_is_no_preset_is_refused_by_the_files_name(
    name: str, content: bytes | None, message: str, task: BertMaskedLM, tmp_path: Path
) -> None:
    task.save_to_preset(str(tmp_path / "preset"))
    if content is None:
        (tmp_path / "preset" / name).unlink()
    else:
        (tmp_path / "preset" / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        MaskedLM.from_preset(str(tmp_path / "preset"))


@pytest.mark.parametrize(("name", "message"), [("model.weights.h5", "BertBackbone"), ("task.weights.h5", "head")])
def test_truncated_weights_are_refused_by_the_files_name(
    name: str, message: str, task: BertMaskedLM, tmp_path: Path
) -> None:
    task.save_to_preset(str(tmp_path / "preset"))
    path = tmp_path / "preset" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{name} must hold the .*{message}"):
        MaskedLM.from_preset(str(tmp_path / "preset"))


def test_weights_of_another_shape_are_refused_with_both(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    with h5py.File(preset / "task.weights.h5", "a") as file:
        del file["layers/masked_lm_head/vars/0"]
        file["layers/masked_lm_head/vars/0"] = np.zeros(3)
    with pytest.raises(InputError, match=r"vars/0 must be of shape \(\d+,\), it is \(3,\)"):
        MaskedLM.from_preset(str(preset))


def test_weights_behind_a_link_to_another_file_are_refused(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    (preset / "task.weights.h5").rename(tmp_path / "elsewhere.h5")
    with h5py.File(preset / "task.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), "/layers")
    with pytest.raises(InputError, match="task.weights.h5 must hold the head"):
        MaskedLM.from_preset(str(preset))


def test_a_tokenizer_that_does_not_fit_the_embedding_is_refused(
    task: BertMaskedLM, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    BertTokenizer([*tokenizer.get_vocabulary(), "more"]).save(preset)
    with pytest.raises(InputError, match=f"it has {tokenizer.vocabulary_size() + 1} pieces and the backbone"):
        MaskedLM.from_preset(str(preset))


def test_what_is_not_asked_for_is_not_loaded(task: BertMaskedLM, tmp_path: Path) -> None:
    task.save_to_preset(str(tmp_path / "preset"))
    for name in ("model.weights.h5", "task.weights.h5", "tokenizer.json"):
        (tmp_path / "preset" / name).unlink()
    fresh = BertMaskedLM.from_preset(str(tmp_path / "preset"), load_weights=False, preprocessor=None)
    assert fresh.preprocessor is None
    assert fresh.count_params() == task.count_params()
    assert not same_weights(fresh, task)


@pytest.mark.slow
def test_a_classifier_takes_the_backbone_of_a_masked_lm(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = str(tmp_path / "preset")
    task.save_to_preset(preset)
    classifier = TextClassifier.from_preset(preset, num_classes=3)
    assert type(classifier) is BertTextClassifier
    assert isinstance(classifier.preprocessor, BertTextClassifierPreprocessor)
    # The rows of the masked LM's preprocessor are its own; a default one fits the positions.
    assert classifier.preprocessor.sequence_length == 16
    assert same_weights(classifier.backbone, task.backbone)
    again = str(tmp_path / "classifier")
    classifier.save_to_preset(again)
    loaded = TextClassifier.from_preset(again)
    assert same_weights(loaded, classifier)
    assert TextClassifier.from_preset(again, num_classes=5).num_classes == 5
    with pytest.warns(UserWarning, match="has no masked-LM head"):
        MaskedLM.from_preset(again)


def test_code_in_a_preset_is_refused(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    BertTextClassifier(task.backbone, 2, activation="softmax").save_to_preset(str(preset))
    assert TextClassifier.from_preset(str(preset), preprocessor=None).activation is keras.activations.softmax
    described = json.loads((preset / "task.json").read_text(encoding="utf-8"))
    described["config"]["activation"] = {"class_name": "__lambda__", "config": {"value": "4wEA"}}
    (preset / "task.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="must be one of linear, softmax.*code in a preset is never run"):
        TextClassifier.from_preset(str(preset), preprocessor=None)


def test_a_preset_of_another_class_and_wrong_settings_are_named(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = str(tmp_path / "preset")
    task.save_to_preset(preset)
    with pytest.raises(
        InputError, match="RobertaMaskedLM loads presets of its own family.*BertBackbone; use BertMaskedLM"
    ):
        RobertaMaskedLM.from_preset(preset)
    with pytest.raises(TypeError, match="was given nonsense, sequence_length too"):
        BertMaskedLM.from_preset(preset, sequence_length=9, nonsense=1)
    with pytest.raises(TypeError, match="needs num_classes"):
        BertTextClassifier.from_preset(preset)
    with pytest.raises(TypeError, match="nonsense"):
        BertMaskedLM(task.backbone, nonsense=1)


def test_a_preset_is_replaced_whole_and_nothing_else_is(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    first = (preset / "model.weights.h5").read_bytes()
    task.backbone.save_to_preset(str(preset))
    assert not (preset / "task.json").exists()
    task.save_to_preset(str(preset))
    assert (preset / "model.weights.h5").read_bytes() == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="holds what Clozekit did not write there: thesis.txt"):
        task.save_to_preset(str(tmp_path / "mine"))


def test_parts_are_saved_and_loaded_alone(task: BertMaskedLM, tmp_path: Path) -> None:
    preset = str(tmp_path / "preset")
    assert task.preprocessor is not None
    task.backbone.save_to_preset(preset)
    task.preprocessor.save_to_preset(preset)
    assert same_weights(BertBackbone.from_preset(preset), task.backbone)
    changed = BertMaskedLMPreprocessor.from_preset(preset, sequence_length=8, mask_selection_length=5)
    assert (changed.sequence_length, changed.mask_selection_length, changed.seed) == (8, 5, 3)
    assert (BertTokenizer.from_preset(preset).sha256()) == task.preprocessor.tokenizer.sha256()


def test_presets_go_to_object_stores_and_back(task: BertMaskedLM) -> None:
    url = "memory://bucket/of/presets/bert"
    task.save_to_preset(url)
    assert same_weights(MaskedLM.from_preset(url), task)


@pytest.mark.slow
def test_the_built_in_presets_have_the_parameters_of_the_seeds_tables() -> None:
    """From shapes: nothing of these gigabytes is allocated. Those that differ in their vocabulary alone are built once."""
    built: dict[str, tuple[int, int, int]] = {}
    for preset in BUILTIN_PRESETS.values():
        others = {name: value for name, value in preset.config.items() if name != "vocabulary_size"}
        size, kind = preset.config["vocabulary_size"], f"{preset.family} {others}"
        if kind not in built:
            with keras.StatelessScope(initialize_variables=False):
                backbone = family_named(preset.family).backbone(**preset.config)
            built[kind] = backbone.count_params(), size, backbone.token_embedding.output_dim
            # Keras would make these variables up for later, with the next ones that are initialized: gigabytes.
            keras.utils.clear_session()
        parameters, built_size, width = built[kind]
        assert parameters + (size - built_size) * width == preset.parameters, preset.name


@pytest.mark.parametrize(
    ("cls", "number"),
    [
        (MaskedLM, 32),
        (BertMaskedLM, 10),
        (RobertaMaskedLM, 4),
        (AlbertMaskedLM, 4),
        (XLMRobertaTextClassifier, 2),
        (DebertaV3MaskedLM, 5),
    ],
)
def test_a_class_lists_the_presets_it_can_load(cls: Any, number: int) -> None:
    assert len(cls.presets.keys()) == number
    if cls is not MaskedLM:
        assert cls.preprocessor_cls.presets.keys() == cls.presets.keys()


@pytest.mark.slow
def test_a_classifier_keeps_the_names_of_its_classes(task: BertMaskedLM, tmp_path: Path) -> None:
    preset, again = str(tmp_path / "preset"), str(tmp_path / "classifier")
    task.save_to_preset(preset)
    TextClassifier.from_preset(preset, num_classes=2, labels=["no", "yes"]).save_to_preset(again)
    loaded = TextClassifier.from_preset(again)
    assert list(loaded.labels or []) == ["no", "yes"]
    # KerasHub finds nothing that it does not know.
    described = json.loads((tmp_path / "classifier" / "task.json").read_text(encoding="utf-8"))
    assert set(described["config"]) == {"backbone", "preprocessor", "name", "num_classes", "activation", "dropout"}
    loaded.save(tmp_path / "whole.keras")
    assert list(keras.saving.load_model(tmp_path / "whole.keras").labels) == ["no", "yes"]
    # A new head has no use for the old one's names.
    assert TextClassifier.from_preset(again, num_classes=3).labels is None
    with pytest.raises(InputError, match="labels must name each of the 2 classes once, got a"):
        TextClassifier.from_preset(preset, num_classes=2, labels=["a"])
