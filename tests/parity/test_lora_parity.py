"""LoRA as KerasHub has it: the same weights are trained, and each loads the other's files."""

from pathlib import Path

import keras_hub
import numpy as np
import pytest
import small_families as families

from clozekit.tokenizers.common.family_names import FAMILIES

EVERYWHERE = ["query", "key", "value", "attention_output", "feedforward_intermediate_dense", "feedforward_output_dense"]


@pytest.mark.parametrize("targets", [None, EVERYWHERE], ids=["default", "everywhere"])
@pytest.mark.parametrize("name", families.IN_KERAS_HUB)
def test_files_of_lora_go_both_ways(name: str, targets: list[str] | None, tmp_path: Path) -> None:
    ours = families.backbone(name)
    ours.save_to_preset(str(tmp_path / "preset"))
    theirs_class = getattr(keras_hub.models, f"{FAMILIES[name].prefix}Backbone")
    theirs = theirs_class.from_preset(str(tmp_path / "preset"))
    for backbone in (ours, theirs):
        backbone.enable_lora(2, targets)
    assert sorted(weight.path for weight in ours.trainable_weights) == sorted(
        weight.path for weight in theirs.trainable_weights
    )
    random = np.random.default_rng(0)
    for weight in ours.trainable_weights:
        if "lora" in weight.path:
            weight.assign(random.normal(size=weight.shape))
    rows = {key: value for key, value in families.batch(name).items() if key != "mask_positions"}
    expected = outputs(ours, rows)
    ours.save_lora_weights(tmp_path / "ours.lora.h5")
    theirs.load_lora_weights(tmp_path / "ours.lora.h5")
    np.testing.assert_allclose(outputs(theirs, rows), expected, atol=2e-5)
    theirs.save_lora_weights(tmp_path / "theirs.lora.h5")
    fresh = families.backbone(name)
    assert np.abs(outputs(fresh, rows) - expected).max() > 0.1
    fresh.load_lora_weights(tmp_path / "theirs.lora.h5")
    np.testing.assert_allclose(outputs(fresh, rows), expected, atol=2e-5)


def outputs(backbone: object, rows: dict[str, np.ndarray]) -> np.ndarray:
    found = backbone(rows)  # type: ignore[operator]
    return np.asarray(found["sequence_output"] if isinstance(found, dict) else found)
