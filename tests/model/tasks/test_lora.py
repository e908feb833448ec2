"""LoRA: what it trains, its file, what it refuses."""

from pathlib import Path

import keras
import numpy as np
import pytest
import small_families as families

from clozekit.tokenizers.common.errors import InputError


def test_only_the_factors_and_the_head_are_trained(tmp_path: Path) -> None:
    task = families.masked_lm("bert", families.masked_lm_preprocessor("bert"))
    before = {weight.path: np.asarray(weight) for weight in task.backbone.weights}
    task.backbone.enable_lora(2)
    task.compile(optimizer=keras.optimizers.Adam(0.1), run_eagerly=True)
    task.fit(families.TEXTS, batch_size=4, epochs=2, verbose=0)
    changed = {weight.path for weight in task.backbone.weights if weight.path in before}
    changed = {path for path in changed if not np.array_equal(before[path], get(task.backbone, path))}
    place = "transformer_layer_0/self_attention_layer"
    assert changed <= {f"{place}/query/bias", f"{place}/value/bias"}
    assert np.abs(get(task.backbone, f"{place}/query/lora_kernel_b")).max() > 0
    # Saved with the factors added to the kernels; their file alone gives the same.
    rows = families.batch("bert")
    expected = np.asarray(task(rows))
    task.save_to_preset(str(tmp_path / "preset"))
    merged = type(task).from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(merged(rows), expected, atol=1e-5)
    task.backbone.save_lora_weights(tmp_path / "factors.lora.h5")
    other = families.backbone("bert")
    other.load_lora_weights(tmp_path / "factors.lora.h5")
    for factor in ("lora_kernel_a", "lora_kernel_b"):
        np.testing.assert_array_equal(
            get(other, f"{place}/value/{factor}"), get(task.backbone, f"{place}/value/{factor}")
        )


def get(backbone: keras.Model, path: str) -> np.ndarray:
    [weight] = [weight for weight in backbone.weights if weight.path == path]
    return np.asarray(weight)


def test_what_lora_refuses(tmp_path: Path) -> None:
    backbone = families.backbone("roberta")
    with pytest.raises(InputError, match="the rank of LoRA must be at least 1, got 0"):
        backbone.enable_lora(0)
    with pytest.raises(InputError, match=r"must name layers that take LoRA, .* got quarry; correct it"):
        backbone.enable_lora(2, ["quarry"])
    assert len(backbone.trainable_weights) == len(backbone.weights)
    with pytest.raises(InputError, match="no LoRA weights to save"):
        backbone.save_lora_weights(tmp_path / "x.lora.h5")
    backbone.enable_lora(2)
    with pytest.raises(InputError, match="enabled for these layers already"):
        backbone.enable_lora(4)
    with pytest.raises(InputError, match=r"must end in \.lora\.h5, got .*x\.h5"):
        backbone.save_lora_weights(tmp_path / "x.h5")
    backbone.save_lora_weights(tmp_path / "x.lora.h5")
    wider = families.backbone("roberta", hidden_dim=32)
    with pytest.raises(InputError, match=r"must fit the backbone, lora_kernel_a of layer \d+ is of shape"):
        wider.load_lora_weights(tmp_path / "x.lora.h5")
    other = families.backbone("roberta")
    other.enable_lora(3)
    with pytest.raises(InputError, match="must hold LoRA weights of rank 3 .* it holds rank 2"):
        other.load_lora_weights(tmp_path / "x.lora.h5")
    (tmp_path / "x.lora.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="must hold LoRA weights, it does not"):
        other.load_lora_weights(tmp_path / "x.lora.h5")
