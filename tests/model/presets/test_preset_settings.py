"""Presets with settings that can't be meant: one line each, and nothing that a file describes is ever built."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import keras
import pytest
import small_families as small

from clozekit.model import Backbone, BertMaskedLM, BertTextClassifier, MaskedLM, MaskedLMPreprocessor, TextClassifier
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError

CODE = {"class_name": "Dense", "config": {"units": 4}}
BOTH = ("masked_lm", "text_classifier")
# Of a preset of KerasHub: (task, file, part of the file, setting, value, message).
KERAS_HUB: list[tuple[str, str, str, str, Any, str]] = [
    ("text_classifier", "clozekit.json", "task", "activation", CODE, "must be one of linear"),
    ("text_classifier", "clozekit.json", "task", "activation", "clozekit>BertBackbone", "must be one of linear"),
    ("text_classifier", "clozekit.json", "task", "activation", ["relu"], "must be one of linear"),
    ("text_classifier", "clozekit.json", "task", "inputs", "x", "has inputs too"),
    ("text_classifier", "clozekit.json", "task", "preprocessor", None, "has preprocessor too"),
    ("text_classifier", "clozekit.json", "task", "compile", False, "has compile too"),
    ("text_classifier", "task.json", "config", "outputs", "x", "has outputs too"),
    ("text_classifier", "task.json", "config", "num_classes", 10**9, "16,000,003,392 parameters and the weights take"),
    ("masked_lm", "clozekit.json", "task", "head_activation", CODE, "head_activation must be a string"),
    ("masked_lm", "clozekit.json", "backbone", "activation", CODE, "activation must be a string"),
    ("masked_lm", "clozekit.json", "preprocessor", "truncate", CODE, "truncate must be a string"),
    ("masked_lm", "clozekit.json", "preprocessor", "tokenizer", "x", "has tokenizer too"),
    ("masked_lm", "clozekit.json", "preprocessor", "mask_selection_length", 10**9, "from 0 to 1048576, got 1000000000"),
    ("masked_lm", "config.json", "config", "num_layers", 10**6, "parameters and the weights take"),
    ("masked_lm", "config.json", "config", "hidden_dim", 10**9, "parameters and the weights take"),
    ("masked_lm", "config.json", "config", "vocabulary_size", 10**12, "vocabulary_size must be from 1 to 2147483647"),
    ("masked_lm", "config.json", "config", "max_sequence_length", 10**10, "max_sequence_length must be from 1"),
    ("masked_lm", "config.json", "config", "num_heads", 0, "num_heads must be from 1"),
    ("masked_lm", "config.json", "config", "hidden_dim", -16, "hidden_dim must be from 1"),
    ("masked_lm", "config.json", "config", "hidden_dim", "16", "hidden_dim must be a whole number, got '16'"),
    ("masked_lm", "config.json", "config", "dropout", 2, "dropout must be from 0 to 1"),
    ("masked_lm", "config.json", "config", "settings", {}, "has settings too"),
]
# Of a config.json of Hugging Face's classifier.
HUGGING_FACE: list[tuple[dict[str, Any], str]] = [
    ({"id2label": {"0": "a", "7": "b", "x": "c"}}, "must give the classes 0 to 2 a name each"),
    ({"id2label": {"0": [1], "1": "b", "2": "c"}}, "must give the classes 0 to 2 a name each"),
    ({"id2label": ["a", "b", "c"]}, "id2label must be an object"),
    ({"label2id": 5}, "label2id must be an object"),
    ({"id2label": None, "num_labels": 10**9}, "parameters and the weights take"),
    ({"architectures": "BertForMaskedLM"}, "must be a list of names"),
    ({"architectures": [["x"]]}, "must be a list of names"),
    ({"architectures": {}}, "must be a list of names"),
    ({"problem_type": [1]}, r"says problem_type \[1\]"),
    ({"tie_word_embeddings": "no"}, "says tie_word_embeddings 'no'"),
    ({"pruned_heads": {"0": [1]}}, "says pruned_heads"),
    ({"hidden_act": CODE}, "hidden_act must be one of gelu"),
    ({"model_type": ["bert"]}, "model_type"),
    ({"layer_norm_eps": -1}, "layer_norm_epsilon must be above 0"),
    ({"layer_norm_eps": "1e-5"}, "layer_norm_eps must be a number"),
    ({"hidden_size": 10**9}, "parameters and the weights take"),
    ({"num_hidden_layers": 10**6}, "parameters and the weights take"),
    ({"vocab_size": 10**12}, "vocab_size must be a whole number"),
    ({"type_vocab_size": 0}, "num_segments must be from 1"),
    ({"classifier_dropout": "x"}, "classifier_dropout must be a number"),
]
SHARDS = {
    "no map": 5,
    "empty": {},
    "lists in lists": {"a": ["b", ["c"]]},
    "outside": {"a": "../x"},
    "absolute": {"a": "/dev/zero"},
    "NUL": {"a": "a\0b"},
    "a folder": {"a": "assets"},
    "missing": {"a": "b.h5"},
    "too long": {"a": "x" * 5000},
    "no weights": {"a": "config.json"},
}


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("presets")
    for kind in BOTH:
        task = getattr(small, kind)("bert", getattr(small, f"{kind}_preprocessor")("bert"))
        task.save_to_preset(str(root / kind))
        save_huggingface(task, root / f"{kind}-hugging-face")
    return root


@pytest.fixture
def no_layers_are_built(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"Keras was asked to build {arguments}")

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", refuse)
    monkeypatch.setattr(keras.activations, "deserialize", refuse)
    yield


def change(path: Path, part: str | None, values: dict[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    (content if part is None else content.setdefault(part, {})).update(values)
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal(kind: str, preset: Path) -> str:
    cls = MaskedLM if kind == "masked_lm" else TextClassifier
    with pytest.raises(InputError) as raised:
        cls.from_preset(str(preset))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(("kind", "file", "part", "name", "value", "message"), KERAS_HUB)
def test_settings_of_keras_hub(
    kind: str,
    file: str,
    part: str,
    name: str,
    value: Any,
    message: str,
    presets: Path,
    tmp_path: Path,
    no_layers_are_built: None,
) -> None:
    preset = copytree(presets / kind, tmp_path / "preset")
    change(preset / file, part, {name: value})
    assert message in refusal(kind, preset)


@pytest.mark.parametrize(("changes", "message"), HUGGING_FACE)
def test_settings_of_hugging_face(
    changes: dict[str, Any], message: str, presets: Path, tmp_path: Path, no_layers_are_built: None
) -> None:
    preset = copytree(presets / "text_classifier-hugging-face", tmp_path / "preset")
    change(preset / "config.json", None, changes)
    with pytest.raises(InputError, match=message):
        TextClassifier.from_preset(str(preset))


@pytest.mark.parametrize("name", SHARDS)
def test_maps_of_shards(name: str, presets: Path, tmp_path: Path) -> None:
    for source, weights, index in (
        ("masked_lm", "model.weights.h5", "model.weights.json"),
        ("masked_lm-hugging-face", "model.safetensors", "model.safetensors.index.json"),
    ):
        preset = copytree(presets / source, tmp_path / source)
        (preset / weights).unlink()
        change(preset / index, None, {"weight_map": SHARDS[name]})
        refusal("masked_lm", preset)


@pytest.mark.parametrize("file", ["config.json", "task.json", "preprocessor.json", "tokenizer.json", "clozekit.json"])
@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000])
def test_depth_bombs(file: str, bomb: str, presets: Path, tmp_path: Path) -> None:
    for source in ("masked_lm", "masked_lm-hugging-face"):
        preset = copytree(presets / source, tmp_path / source)
        if file in ("config.json", "tokenizer.json", "clozekit.json") or (preset / file).is_file():
            (preset / file).write_text(bomb, encoding="utf-8")
            assert file in refusal("masked_lm", preset)


def test_a_narrow_model_of_many_blocks_is_not_built(presets: Path, tmp_path: Path) -> None:
    preset = copytree(presets / "masked_lm", tmp_path / "preset")
    change(preset / "config.json", "config", {"num_layers": 10**6, "hidden_dim": 2, "intermediate_dim": 1})
    with pytest.raises(InputError, match="a model of at most 1,000 blocks, it describes one of 1,000,000"):
        MaskedLM.from_preset(str(preset), load_weights=False)


def test_the_description_of_an_activation_is_never_built() -> None:
    with pytest.raises(InputError, match="activation must be a name or a function"):
        BertTextClassifier(small.backbone("bert"), 2, activation=CODE)


@pytest.mark.parametrize(
    ("change_config", "message"),
    [
        (lambda config: config.update(backbone=CODE), "must be a BertBackbone"),
        (lambda config: config["backbone"].update(registered_name="Dense"), "must be a BertBackbone"),
        (lambda config: config["backbone"]["config"].update(num_layers=10**6), "at most 1,000 blocks"),
        (lambda config: config["backbone"]["config"].update(activation=CODE), "activation must be a string"),
        (lambda config: config["backbone"]["config"].update(dtype=CODE), "dtype must be a policy of Keras"),
    ],
)
def test_what_a_keras_file_describes_is_checked(change_config: Any, message: str, tmp_path: Path) -> None:
    task = small.masked_lm("bert")
    task.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as archive:
        described = json.loads(archive.read("config.json"))
    change_config(described["config"])
    with pytest.raises(InputError, match=message):
        BertMaskedLM.from_config(described["config"])


def test_a_preprocessor_that_is_added_leaves_what_is_said_of_the_backbone(tmp_path: Path) -> None:
    preset = str(tmp_path / "preset")
    small.backbone("bert", activation="relu").save_to_preset(preset)
    for seed in (3, None):
        small.masked_lm_preprocessor("bert", seed=seed).save_to_preset(preset)
        assert Backbone.from_preset(preset).activation == "relu"
        assert MaskedLMPreprocessor.from_preset(preset).seed == seed
