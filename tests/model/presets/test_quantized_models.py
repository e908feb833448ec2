"""Models in int8: close to what they were, the same again from every file, refused where they can't go."""

import gc
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
from long_variants import DISTINCT, FULL

import clozekit.model
from clozekit.tokenizers.common.errors import InputError

# The layers of the others are BERT's; ELECTRA has a head of its own.
QUANTIZED = families.NAMES if FULL else (*DISTINCT, "electra")
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Keras searches all objects for garbage once for every weight that it quantizes."""
    gc.collect()
    gc.freeze()


def quantized(name: str, kind: str = "masked_lm") -> tuple[Any, dict[str, np.ndarray]]:
    """A task in int8 and rows for it, the task held against what it was."""
    task = getattr(families, kind)(name, getattr(families, f"{kind}_preprocessor")(name))
    rows = families.batch(name)
    if kind == "text_classifier":
        rows.pop("mask_positions")
    before = np.asarray(task(rows))
    task.quantize("int8")
    assert np.abs(np.asarray(task(rows)) - before).max() < 0.1 * np.abs(before).max()
    return task, rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, kind",
    [*((name, "masked_lm") for name in QUANTIZED), ("bert", "text_classifier"), ("roberta", "text_classifier")],
)
def test_a_quantized_task_is_the_same_from_every_file(name: str, kind: str, tmp_path: Path) -> None:
    task, rows = quantized(name, kind)
    expected = np.asarray(task(rows))
    task.save(tmp_path / "task.keras")
    task.save_to_preset(str(tmp_path / "preset"))
    loaded = [keras.saving.load_model(tmp_path / "task.keras"), type(task).from_preset(str(tmp_path / "preset"))]
    for other in loaded:
        np.testing.assert_array_equal(other(rows), expected)
        assert other.described_policy() == task.described_policy()
    # And once more: a layer whose policy came from a file is saved with its scales.
    loaded[1].save_to_preset(str(tmp_path / "again"))
    described = "task.json" if task.is_of_keras_hub else "clozekit.json"
    for file in ("config.json", described, "model.weights.h5", "task.weights.h5"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "preset" / file).read_bytes(), file
    backbone = type(task.backbone).from_preset(str(tmp_path / "preset"))
    assert backbone.token_embedding.quantization_mode == "int8"


@pytest.mark.parametrize("second", ["pairs", "generator", "disentangled"])
def test_a_second_head_and_a_generator_are_quantized_with_the_rest(second: str, tmp_path: Path) -> None:
    more = {"pair_head": True} if second == "pairs" else dict(families.generator_sizes("bert"))
    more |= {"disentangled_embeddings": True} if second == "disentangled" else {}
    task = families.masked_lm("bert", families.masked_lm_preprocessor("bert"), None, **more)
    task.quantize("int8")
    task.save_to_preset(str(tmp_path / "preset"))
    again, rows = clozekit.model.MaskedLM.from_preset(str(tmp_path / "preset")), families.batch("bert")
    np.testing.assert_array_equal(again(rows), task(rows))
    of_second = "pair_logits" if second == "pairs" else "detection_logits"
    found, expected = (getattr(one, of_second)(rows) for one in (again, task))
    np.testing.assert_array_equal(found, expected)
    begun = families.backbone("bert", dtype="int8_from_float32")
    fresh = families.family("bert").masked_lm(begun, compile=False, **more)
    assert fresh.described_policy() == again.described_policy()


def test_a_generator_is_quantized_from_the_start_with_its_projection() -> None:
    backbone = families.backbone("electra", dtype="int8_from_float32")
    sizes = {**families.generator_sizes("electra"), "disentangled_embeddings": True}
    task = families.family("electra").masked_lm(backbone, compile=False, **sizes)
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)
    layers = [layer for layer in task._flatten_layers() if isinstance(layer, kinds)]
    assert any(layer.name == "generator_embedding_projection" for layer in layers)
    assert {layer.name: layer.quantization_mode for layer in layers if layer.quantization_mode != "int8"} == {}


def test_the_loss_in_chunks_is_that_of_the_quantized_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    task, rows = quantized("bert")
    batch = {**rows, "mask_ids": np.full(rows["mask_positions"].shape, 7, "int32")}
    batch["mask_weights"] = np.ones(rows["mask_positions"].shape, "float32")
    whole = [float(part) for part in task.masked_sums(batch)]
    monkeypatch.setattr("clozekit.model.tasks.masked_lm.MAX_LOGITS", 1)
    chunked = [float(part) for part in task.masked_sums(batch)]
    # Keras rounds what it multiplies with the table too, the loss in chunks does not.
    assert chunked[0] == pytest.approx(whole[0], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["albert", "xlm_roberta"])
def test_quantized_from_the_start(name: str, tmp_path: Path) -> None:
    backbone = families.backbone(name, dtype="int8_from_float32")
    assert backbone.token_embedding.quantization_mode == "int8"
    task = families.family(name).masked_lm(backbone)
    assert task.masked_lm_head.parts().dense.quantization_mode == "int8"
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    rows = families.batch(name)
    np.testing.assert_array_equal(loaded(rows), task(rows))
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)
    modes = {layer.name: layer.quantization_mode for layer in task._flatten_layers() if isinstance(layer, kinds)}
    assert set(modes.values()) == {"int8"}, modes
    # What Keras can't put into eight-bit floats stays.
    assert families.backbone(name, dtype="float8_from_float32").token_embedding.quantization_mode is None


def test_what_a_quantized_preset_can_not_be(tmp_path: Path) -> None:
    task, _ = quantized("bert")
    preset = tmp_path / "preset"
    task.save_to_preset(str(preset))
    with pytest.raises(InputError, match=r"is quantized, its weights can't be loaded with dtype='float32'"):
        clozekit.model.MaskedLM.from_preset(str(preset), dtype="float32")
    fresh = clozekit.model.MaskedLM.from_preset(str(preset), dtype="float32", load_weights=False)
    assert fresh.backbone.token_embedding.quantization_mode is None
    with pytest.raises(InputError, match="must have float weights, this BertMaskedLM is quantized"):
        clozekit.model.save_huggingface(task, tmp_path / "hugging-face")
    config = json.loads((preset / "config.json").read_text())
    # KerasHub's own presets say nothing of the head: its integers are no floats.
    policies = config["config"]["dtype"]["config"]["policy_map"]
    without = {path: one for path, one in policies.items() if not path.startswith("mlm_head")}
    assert 0 < len(without) < len(policies)
    config["config"]["dtype"]["config"]["policy_map"] = without
    (preset / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="must hold the head of the BertMaskedLM .* one is quantized"):
        clozekit.model.MaskedLM.from_preset(str(preset))


@pytest.mark.parametrize(
    "path, policy",
    [
        ("(a+)+$", {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}),
        ("logits", {"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}}),
        ("logits", {"class_name": "QuantizedDTypePolicy", "config": {"mode": {"class_name": "Lambda"}}}),
        ("logits", {"class_name": "QuantizedFloat8DTypePolicy", "config": {"mode": "float8", "amax_history_length": 10**9}}),
        ("logits", {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int3", "source_name": "float32"}}),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused(path: str, policy: dict[str, Any], tmp_path: Path) -> None:
    families.backbone("bert").save_to_preset(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    described = {"default_policy": "float32", "policy_map": {path: policy}}
    config["config"]["dtype"] = {"class_name": "DTypePolicyMap", "config": described}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: dtype must"):
        clozekit.model.Backbone.from_preset(str(tmp_path))
