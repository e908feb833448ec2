"""Presets that say what no preset says: one line that names the file and the setting, before anything is built."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import small_families as small

from clozekit.model import Backbone, MaskedLM, TextClassifier
from clozekit.model.presets.huggingface_preset import save_huggingface
from clozekit.tokenizers.common.errors import InputError


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A preset in each layout, of a masked LM and of a classifier."""
    root = tmp_path_factory.mktemp("presets")
    masked_lm = small.masked_lm("bert", small.masked_lm_preprocessor("bert"))
    masked_lm.save_to_preset(str(root / "keras"))
    save_huggingface(masked_lm, root / "huggingface")
    small.text_classifier("bert", small.text_classifier_preprocessor("bert")).save_to_preset(str(root / "classifier"))
    return {path.name: path for path in root.iterdir()}


def changed(preset: Path, into: Path, file: str, path: tuple[Any, ...], value: Any) -> Path:
    """A copy in which a value of a JSON file is another one."""
    into.mkdir()
    for source in preset.rglob("*"):
        if source.is_file():
            (into / source.relative_to(preset)).parent.mkdir(parents=True, exist_ok=True)
            (into / source.relative_to(preset)).write_bytes(source.read_bytes())
    fields = json.loads((into / file).read_text(encoding="utf-8")) if (into / file).exists() else {}
    holder = fields
    for key in path[:-1]:
        holder = holder.setdefault(key, {})
    holder[path[-1]] = value
    (into / file).write_text(json.dumps(fields), encoding="utf-8")
    return into


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}


@pytest.mark.parametrize("value", [DENSE, ["relu"], 5, "keras.activations.relu", "os.system", True])
@pytest.mark.parametrize(
    ("file", "path"),
    [("clozekit.json", ("task", "activation")), ("task.json", ("config", "activation"))],
)
def test_an_activation_is_a_name(
    file: str,
    path: tuple[str, ...],
    value: Any,
    presets: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preset = changed(presets["classifier"], tmp_path / "preset", file, path, value)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a file reached Keras's deserializer")

    monkeypatch.setattr(keras.layers, "deserialize", never)
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", never)
    with pytest.raises(InputError, match="activation") as caught:
        TextClassifier.from_preset(str(preset))
    assert "\n" not in str(caught.value)


ODD: tuple[Any, ...] = (None, True, -1, 0, 10**30, "8", [8], DENSE, 0.5, float("nan"))


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize(
    ("layout", "file", "path"),
    [
        ("keras", "config.json", ("config", "hidden_dim")),
        ("keras", "config.json", ("config", "vocabulary_size")),
        ("keras", "config.json", ("config", "num_layers")),
        ("keras", "config.json", ("config", "max_sequence_length")),
        ("keras", "clozekit.json", ("backbone", "layer_norm_epsilon")),
        ("keras", "clozekit.json", ("preprocessor", "mask_selection_length")),
        ("keras", "preprocessor.json", ("config", "sequence_length")),
        ("huggingface", "config.json", ("hidden_size",)),
        ("huggingface", "config.json", ("num_attention_heads",)),
        ("huggingface", "config.json", ("hidden_act",)),
        ("huggingface", "config.json", ("model_type",)),
        ("huggingface", "config.json", ("architectures",)),
        ("huggingface", "config.json", ("layer_norm_eps",)),
        ("huggingface", "config.json", ("type_vocab_size",)),
    ],
)
def test_a_setting_of_another_type_is_one_line_or_nothing_changes(
    layout: str, file: str, path: tuple[str, ...], value: Any, presets: dict[str, Path], tmp_path: Path
) -> None:
    preset = changed(presets[layout], tmp_path / "preset", file, path, value)
    try:
        MaskedLM.from_preset(str(preset))
    except InputError as error:
        assert "\n" not in str(error)
        assert str(preset) in str(error) or path[-1] in str(error)


@pytest.mark.parametrize(
    ("layout", "path", "value"),
    [
        ("keras", ("config", "hidden_dim"), 2_000_000_000),
        ("keras", ("config", "vocabulary_size"), 2_000_000_000),
        ("keras", ("config", "max_sequence_length"), 2_000_000_000),
        ("keras", ("config", "num_layers"), 1_000_000),
        ("huggingface", ("hidden_size",), 2_000_000_000),
        ("huggingface", ("num_hidden_layers",), 1_000_000),
        ("huggingface", ("intermediate_size",), 2_000_000_000),
    ],
)
def test_a_shape_out_of_proportion_is_held_against_the_weights(
    layout: str, path: tuple[str, ...], value: int, presets: dict[str, Path], tmp_path: Path
) -> None:
    preset = changed(presets[layout], tmp_path / "preset", "config.json", path, value)
    with pytest.raises(InputError, match=r"of at least [\d,]+ parameters and the weights take [\d,]+ bytes"):
        Backbone.from_preset(str(preset))


def test_fresh_weights_are_held_against_the_memory(presets: dict[str, Path], tmp_path: Path) -> None:
    preset = changed(presets["keras"], tmp_path / "preset", "config.json", ("config", "vocabulary_size"), 2_000_000_000)
    with pytest.raises(InputError, match="must describe a model that fits the memory"):
        Backbone.from_preset(str(preset), load_weights=False)


def test_an_array_larger_than_any_of_the_model_is_not_read(presets: dict[str, Path], tmp_path: Path) -> None:
    preset = changed(presets["keras"], tmp_path / "preset", "metadata.json", ("more",), 1)
    with h5py.File(preset / "model.weights.h5", "a") as file:
        del file["layers/position_embedding/vars/0"]
        file.create_dataset("layers/position_embedding/vars/0", shape=(2**40,), dtype="f4", chunks=(1024,))
    with pytest.raises(InputError, match=r"is of shape \(1099511627776,\), larger than any"):
        Backbone.from_preset(str(preset))


@pytest.mark.parametrize(
    "weight_map", [None, [], {}, {"a": 5}, {"a": [[]]}, {"a": "../x.h5"}, {"a": "/etc/passwd"}, {"a": "x\0y"}]
)
def test_a_map_of_weights_names_files_of_the_preset(weight_map: Any, presets: dict[str, Path], tmp_path: Path) -> None:
    for layout, whole, index in (
        ("keras", "model.weights.h5", "model.weights.json"),
        ("huggingface", "model.safetensors", "model.safetensors.index.json"),
    ):
        preset = changed(presets[layout], tmp_path / layout, index, ("weight_map",), weight_map)
        (preset / whole).unlink()
        with pytest.raises(InputError) as caught:
            Backbone.from_preset(str(preset))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "task.json", "preprocessor.json", "tokenizer.json", "clozekit.json"])
def test_nesting_without_end_is_one_line(file: str, presets: dict[str, Path], tmp_path: Path) -> None:
    preset = changed(presets["keras"], tmp_path / "preset", "metadata.json", ("more",), 1)
    (preset / file).write_text('{"config": ' * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match="JSON"):
        MaskedLM.from_preset(str(preset))


def test_what_a_preset_holds_loads_as_before(presets: dict[str, Path]) -> None:
    first, second = (MaskedLM.from_preset(str(presets[layout])) for layout in ("keras", "huggingface"))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
