"""Presets between Clozekit and KerasHub: weights, settings, tokenizers and preprocessors come back as they went."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as families

keras_hub = pytest.importorskip("keras_hub")

import clozekit.model  # noqa: E402
from clozekit.tokenizers.common.family_names import FAMILIES  # noqa: E402

OPTIONS = {
    "sequence_length": 12,
    "truncate": "waterfall",
    "mask_selection_rate": 0.3,
    "mask_selection_length": 5,
    "mask_token_rate": 0.7,
    "random_token_rate": 0.2,
}


def hub_class(name: str, kind: str) -> Any:
    return getattr(keras_hub.models, FAMILIES[name].prefix + kind)


def hub_tokenizer(name: str, directory: Path) -> Any:
    """KerasHub's tokenizer on the small vocabulary."""
    families.tokenizer(name).save(directory)
    assets = directory / "assets" / "tokenizer"
    if name in ("bert", "distil_bert"):
        return hub_class(name, "Tokenizer")(str(assets / "vocabulary.txt"), lowercase=True)
    if name == "roberta":
        return keras_hub.models.RobertaTokenizer(str(assets / "vocabulary.json"), str(assets / "merges.txt"))
    return hub_class(name, "Tokenizer")((assets / "vocabulary.spm").read_bytes())


def weights(task: Any) -> dict[str, np.ndarray]:
    return {variable.path: np.asarray(variable) for variable in task.weights}


def assert_bit_identical(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other)
    for path, value in one.items():
        assert value.tobytes() == other[path].tobytes(), path


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_a_masked_lm_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    task = families.masked_lm(name, families.masked_lm_preprocessor(name, **OPTIONS))
    task.save_to_preset(str(tmp_path / "ours"))
    with warnings.catch_warnings():
        # KerasHub warns when it does not find what it expects. (A file that it leaves open is its own affair.)
        warnings.simplefilter("error", UserWarning)
        theirs = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "ours"))
    assert type(theirs) is hub_class(name, "MaskedLM")
    assert type(theirs.preprocessor) is hub_class(name, "MaskedLMPreprocessor")
    theirs.save_to_preset(str(tmp_path / "theirs"))
    back = clozekit.model.MaskedLM.from_preset(str(tmp_path / "theirs"))
    assert type(back) is type(task)
    assert_bit_identical(weights(task), weights(theirs))
    assert_bit_identical(weights(task), weights(back))
    assert back.backbone.settings() == task.backbone.settings()
    for preprocessor in (theirs.preprocessor, back.preprocessor):
        assert {option: getattr(preprocessor, option) for option in OPTIONS} == OPTIONS
    assert back.preprocessor.tokenizer.sha256() == families.tokenizer(name).sha256()
    assert_same_ids(back.preprocessor.tokenizer, theirs.preprocessor.tokenizer)


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_a_text_classifier_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    task = families.text_classifier(
        name, families.text_classifier_preprocessor(name), activation="softmax", dropout=0.3
    )
    task.save_to_preset(str(tmp_path / "ours"))
    theirs = keras_hub.models.TextClassifier.from_preset(str(tmp_path / "ours"))
    assert (theirs.num_classes, theirs.dropout, theirs.preprocessor.sequence_length) == (3, 0.3, 16)
    theirs.save_to_preset(str(tmp_path / "theirs"))
    back = clozekit.model.TextClassifier.from_preset(str(tmp_path / "theirs"))
    assert_bit_identical(weights(task), weights(theirs))
    assert_bit_identical(weights(task), weights(back))
    assert back.head_config() == task.head_config()
    assert back.preprocessor.get_config() == task.preprocessor.get_config()
    # Either task loads from the other's preset, with a fresh head.
    with pytest.warns(UserWarning, match="has no masked-LM head; this .*MaskedLM starts with a random one"):
        masked_lm = clozekit.model.MaskedLM.from_preset(str(tmp_path / "theirs"))
    assert_bit_identical(weights(masked_lm.backbone), weights(task.backbone))
    assert type(keras_hub.models.MaskedLM.from_preset(str(tmp_path / "ours"))) is hub_class(name, "MaskedLM")


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_what_they_make_from_their_own_tokenizer_loads_here(name: str, tmp_path: Path) -> None:
    tokenizer = hub_tokenizer(name, tmp_path / "tokenizer")
    preprocessor = hub_class(name, "MaskedLMPreprocessor")(tokenizer, **OPTIONS)
    theirs = hub_class(name, "MaskedLM")(
        keras_hub.models.Backbone.from_preset(saved_backbone(name, tmp_path)), preprocessor=preprocessor
    )
    theirs.save_to_preset(str(tmp_path / "theirs"))
    ours = clozekit.model.MaskedLM.from_preset(str(tmp_path / "theirs"))
    assert_bit_identical(weights(ours), weights(theirs))
    assert {option: getattr(ours.preprocessor, option) for option in OPTIONS} == OPTIONS
    assert_same_ids(ours.preprocessor.tokenizer, tokenizer)
    assert ours.preprocessor.tokenizer.get_vocabulary() == list(families.tokenizer(name).get_vocabulary())


def saved_backbone(name: str, directory: Path) -> str:
    families.backbone(name).save_to_preset(str(directory / "backbone"))
    return str(directory / "backbone")


def assert_same_ids(ours: Any, theirs: Any) -> None:
    assert [[int(token_id) for token_id in row] for row in theirs(families.TEXTS)] == ours(families.TEXTS)
    assert ours.vocabulary_size() == theirs.vocabulary_size()


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_parts_of_a_preset(name: str, tmp_path: Path) -> None:
    task = families.masked_lm(name, families.masked_lm_preprocessor(name, **OPTIONS))
    preset = str(tmp_path / "preset")
    task.save_to_preset(preset)
    backbone = keras_hub.models.Backbone.from_preset(preset)
    assert_bit_identical(weights(backbone), weights(task.backbone))
    preprocessor = hub_class(name, "MaskedLMPreprocessor").from_preset(preset, sequence_length=20)
    assert (preprocessor.sequence_length, preprocessor.truncate) == (20, "waterfall")
    assert hub_class(name, "Tokenizer").from_preset(preset).vocabulary_size() == task.backbone.vocabulary_size
    backbone.save_to_preset(str(tmp_path / "alone"))
    assert_bit_identical(weights(clozekit.model.Backbone.from_preset(str(tmp_path / "alone"))), weights(backbone))


@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_weights_in_several_files(name: str, tmp_path: Path) -> None:
    task = families.masked_lm(name, families.masked_lm_preprocessor(name))
    # KerasHub takes gigabytes: about 4 KB here.
    size = 4e-6
    task.save_to_preset(str(tmp_path / "ours"), max_shard_size=size)
    assert not (tmp_path / "ours" / "model.weights.h5").exists()
    assert len(list((tmp_path / "ours").glob("model_*.weights.h5"))) > 1
    theirs = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "ours"))
    assert_bit_identical(weights(task), weights(theirs))
    theirs.save_to_preset(str(tmp_path / "theirs"), max_shard_size=size)
    assert len(list((tmp_path / "theirs").glob("model_*.weights.h5"))) > 1
    assert_bit_identical(weights(clozekit.model.MaskedLM.from_preset(str(tmp_path / "theirs"))), weights(task))


def rename(described: Any, replace: dict[str, str]) -> None:
    """Renames registered classes anywhere in a JSON."""
    if isinstance(described, dict):
        name = described.get("registered_name")
        if name:
            described["registered_name"] = replace.get(name, name).replace("keras_hub>", "keras_nlp>")
        for value in described.values():
            rename(value, replace)


def test_names_of_before_keras_hub(tmp_path: Path) -> None:
    """What KerasNLP wrote: its package in every name, and the old names of classifier and preprocessor."""
    task = families.text_classifier("bert", families.text_classifier_preprocessor("bert"))
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    old = {
        "keras_hub>BertTextClassifier": "keras_hub>BertClassifier",
        "keras_hub>BertTextClassifierPreprocessor": "keras_hub>BertPreprocessor",
    }
    for file in preset.glob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        rename(content, old)
        # KerasNLP had no dtype in its settings of the backbone.
        content.get("config", {}).pop("dtype", None)
        file.write_text(json.dumps(content), encoding="utf-8")
    assert (
        json.loads((preset / "task.json").read_text(encoding="utf-8"))["registered_name"] == "keras_nlp>BertClassifier"
    )
    assert_bit_identical(weights(clozekit.model.TextClassifier.from_preset(str(preset))), weights(task))
    assert_bit_identical(weights(keras_hub.models.TextClassifier.from_preset(str(preset))), weights(task))


def test_options_of_ours_do_not_stop_them(tmp_path: Path) -> None:
    preprocessor = families.masked_lm_preprocessor("bert", seed=3, whole_word_masking=True)
    task = families.masked_lm("bert", preprocessor, head_activation="relu", backbone_changes={"activation": "relu"})
    task.save_to_preset(str(tmp_path / "preset"))
    theirs = keras_hub.models.MaskedLM.from_preset(str(tmp_path / "preset"))
    assert_bit_identical(weights(theirs), weights(task))
    back = clozekit.model.MaskedLM.from_preset(str(tmp_path / "preset"))
    assert back.preprocessor.own_options() == preprocessor.own_options()
    assert (back.backbone.activation, back.head_settings()["head_activation"]) == ("relu", "relu")


@pytest.mark.parametrize("order", [("clozekit.model", "keras_hub"), ("keras_hub", "clozekit.model")])
def test_both_in_one_process(order: tuple[str, str], tmp_path: Path) -> None:
    """Neither takes the other's registered classes, whichever is imported first."""
    families.masked_lm("bert", families.masked_lm_preprocessor("bert")).save_to_preset(str(tmp_path / "preset"))
    script = f"""
import {order[0]}, {order[1]}, keras, sys
preset, out = sys.argv[1:]
theirs, ours = keras_hub.models.MaskedLM.from_preset(preset), clozekit.model.MaskedLM.from_preset(preset)
assert type(theirs).__module__.startswith("keras_hub."), type(theirs)
assert type(ours).__module__.startswith("clozekit."), type(ours)
for whose, task in (("theirs", theirs), ("ours", ours)):
    task.save(f"{{out}}/{{whose}}.keras")
    loaded = keras.saving.load_model(f"{{out}}/{{whose}}.keras")
    assert type(loaded) is type(task), (type(loaded), type(task))
registered = keras.saving.get_custom_objects()
assert all(name.startswith("clozekit>") for name, cls in registered.items() if cls.__module__.startswith("clozekit."))
assert all(not name.startswith("clozekit>") for name, cls in registered.items() if cls.__module__.startswith("keras_hub."))
print("both")
"""
    arguments = [sys.executable, "-c", script, str(tmp_path / "preset"), str(tmp_path)]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split()[-1] == "both"
