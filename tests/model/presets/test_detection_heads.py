"""Heads of discriminators: DeBERTa V3's against its formula in NumPy, and the authors' checkpoint, which has two heads."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families as families
from safetensors.numpy import load_file, save_file

from clozekit.model import MaskedLM, ReplacedTokenDetector
from clozekit.model.layers.detection_head import DetectionHead
from clozekit.model.presets.huggingface_preset import save_huggingface


def detector_of(family: str) -> Any:
    task = ReplacedTokenDetector(families.backbone(family), families.text_classifier_preprocessor(family))
    families.randomize(task, seed=6)
    return task


def logits_by_hand(head: DetectionHead, hidden: np.ndarray, begins: list[list[int]]) -> np.ndarray:
    """He et al.'s head on hidden states (B, T, H); begins: of each token, where its document begins."""
    gamma, beta, inner, inner_bias, outer, outer_bias = (np.asarray(weight, np.float64) for weight in head.weights)
    summed = hidden + np.stack([row[places] for row, places in zip(hidden, begins, strict=True)])
    centred = summed - summed.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-7) * gamma + beta
    active = np.asarray(keras.activations.gelu(normed @ inner + inner_bias, approximate=False), np.float64)
    return (active @ outer + outer_bias)[..., 0]


def test_the_head_of_deberta_sees_each_token_beside_the_first_of_its_document() -> None:
    head = DetectionHead("gelu", 1e-7)
    head.build((None, None, 8))
    families.randomize(head, seed=2)
    hidden = np.random.default_rng(1).normal(size=(2, 7, 8)).astype("float32")
    documents = np.array([[1, 1, 1, 2, 2, 0, 0], [4, 4, 4, 4, 4, 4, 5]], "int32")
    begins = [[0, 0, 0, 3, 3, 5, 5], [0, 0, 0, 0, 0, 0, 6]]
    np.testing.assert_allclose(head(hidden), logits_by_hand(head, hidden, [[0] * 7] * 2), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        head(hidden, document_ids=documents), logits_by_hand(head, hidden, begins), rtol=1e-4, atol=1e-5
    )
    assert DetectionHead.from_config(head.get_config()).first_token_epsilon == 1e-7


@pytest.mark.parametrize("family", families.NAMES)
def test_only_deberta_has_it(family: str) -> None:
    head = detector_of(family).detection_head
    assert (head.layer_norm is not None) == (family == "deberta_v3")


def test_a_checkpoint_as_the_authors_write_it_has_both_heads(tmp_path: Path) -> None:
    of_body = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-7}
    masked_lm = families.masked_lm("deberta_v3", families.masked_lm_preprocessor("deberta_v3"), None, **of_body)
    families.randomize(masked_lm, seed=6)
    detector = detector_of("deberta_v3")
    detector.backbone.set_weights(masked_lm.backbone.get_weights())
    with pytest.warns(UserWarning, match=r"passes over the head that tells replaced tokens \(mask_predictions.\*\)"):
        save_huggingface(detector, tmp_path / "detector")
    save_huggingface(masked_lm, tmp_path / "both")
    config = json.loads((tmp_path / "both" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "both" / "config.json").write_text(json.dumps(config))
    (tmp_path / "both" / "clozekit.json").unlink()
    head = {
        name: value for name, value in load_file(tmp_path / "detector" / "model.safetensors").items() if "mask_" in name
    }
    assert sorted(head) == [
        f"mask_predictions.{layer}.{part}"
        for layer in ("LayerNorm", "classifier", "dense")
        for part in ("bias", "weight")
    ]
    theirs = {
        name.replace("cls.predictions.transform.", "lm_predictions.lm_head.").replace(
            "cls.predictions.bias", "lm_predictions.lm_head.bias"
        ): value
        for name, value in load_file(tmp_path / "both" / "model.safetensors").items()
    }
    save_file({**theirs, **head}, tmp_path / "both" / "model.safetensors")
    rows = families.batch("deberta_v3")
    known = {name: value for name, value in rows.items() if name != "mask_positions"}
    again = MaskedLM.from_preset(str(tmp_path / "both"), preprocessor=None)
    np.testing.assert_array_equal(again.masked_logits(rows), masked_lm.masked_logits(rows))
    found = ReplacedTokenDetector.from_preset(str(tmp_path / "both"), preprocessor=None)
    np.testing.assert_array_equal(found(known), detector(known))
