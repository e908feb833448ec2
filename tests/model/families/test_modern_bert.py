"""ModernBERT's layers by slow loops, and what a config.json of it may not say: refused by name, in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_families as small

from clozekit.model import Backbone, MaskedLM, ModernBertBackbone, TextClassifier, save_huggingface
from clozekit.model.layers import RotaryPositions
from clozekit.model.layers.rotary_positions import rotated
from clozekit.model.layers.transformer_layers import pair_mask
from clozekit.model.training.flops import Dimensions, training_flops_per_token
from clozekit.tokenizers.common.errors import InputError

FULL, SLIDING = "full_attention", "sliding_attention"


def test_pairs_of_values_are_turned_by_their_angles() -> None:
    values = np.random.default_rng(0).standard_normal((2, 5, 3, 6)).astype("float32")
    positions = np.array([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]], "int32")
    expected = values.copy()
    for row, token, head, pair in np.ndindex(2, 5, 3, 3):
        angle = positions[row, token] * 100.0 ** (-2 * pair / 6)
        first, second = values[row, token, head, pair], values[row, token, head, pair + 3]
        expected[row, token, head, pair] = first * np.cos(angle) - second * np.sin(angle)
        expected[row, token, head, pair + 3] = second * np.cos(angle) + first * np.sin(angle)
    layer = RotaryPositions(size=6, base=100.0)
    turned = rotated(values, layer(positions, positions=positions))
    np.testing.assert_allclose(turned, expected, rtol=1e-5, atol=1e-6)
    # Without positions they are counted.
    np.testing.assert_allclose(rotated(values, layer(positions))[1], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 128])
def test_a_window_is_within_half_of_it_to_each_side_and_within_the_mask(window: int) -> None:
    mask = np.random.default_rng(1).random((2, 1, 9, 9)) < 0.6
    expected = np.zeros_like(mask)
    for row, query, key in np.ndindex(2, 9, 9):
        near = abs(query - key) <= window // 2
        expected[row, 0, query, key] = (mask[row, 0, query, key] and near) or query == key
    np.testing.assert_array_equal(pair_mask(mask, window // 2, 9), expected)


@pytest.mark.parametrize("types", [None, [SLIDING, FULL], [SLIDING, SLIDING], [FULL, FULL]])
def test_what_a_token_sees_is_what_windows_let_through(types: list[str] | None) -> None:
    backbone = small.backbone("modern_bert", layer_types=types, attention_window=4)
    rows = {"token_ids": np.full((1, 16), 5, "int32"), "padding_mask": np.ones((1, 16), "int32")}
    changed = {**rows, "token_ids": rows["token_ids"].copy()}
    changed["token_ids"][0, 15] = 6
    differs = np.abs(np.asarray(backbone(rows)) - np.asarray(backbone(changed))).max(axis=-1)[0] > 1e-6
    # Two tokens to a side in each local layer.
    reach = 4 if types == [SLIDING, SLIDING] else 15
    assert differs.tolist() == [place >= 15 - reach for place in range(16)]


def test_packed_rows_may_bring_their_positions() -> None:
    backbone = small.backbone("modern_bert")
    documents = np.array([[1, 1, 1, 2, 2, 2, 2, 0]], "int32")
    rows = {"token_ids": np.arange(5, 13, dtype="int32")[None], "padding_mask": (documents > 0).astype("int32")}
    rows["document_ids"] = documents
    positions = np.array([[0, 1, 2, 0, 1, 2, 3, 0]], "int32")
    np.testing.assert_array_equal(backbone({**rows, "positions": positions})[:, :7], backbone(rows)[:, :7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": [FULL]}, "layer_types must say full_attention or sliding_attention for each of the 2 blocks"),
        ({"layer_types": [FULL, "linear_attention"]}, "layer_types must say"),
        ({"hidden_dim": 18, "num_heads": 2}, "an even number of values, got 18 and 2 heads"),
        ({"attention_window": 0}, "attention_window must be at least 1, got 0"),
        ({"local_rope_base": 0.0}, "local_rope_base must be above 0, got 0.0"),
        ({"head_activation": "mish"}, "head_activation must be one of gelu"),
    ],
)
def test_settings_that_no_model_has_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small.backbone("modern_bert", **changes)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("modern_bert") / "preset"
    save_huggingface(small.masked_lm("modern_bert", small.masked_lm_preprocessor("modern_bert")), directory)
    return directory


def changed(preset: Path, directory: Path, **changes: Any) -> str:
    """The preset with other keys in its config.json."""
    for file in preset.glob("[!.]*"):
        (directory / file.name).write_bytes(file.read_bytes())
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in {**config, **changes}.items() if value is not ...}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(directory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": [FULL]}, "layer_types must be full_attention or sliding_attention for each of the 2 layers"),
        ({"layer_types": [FULL, "chunked_attention"]}, "layer_types must be"),
        ({"layer_types": "full_attention"}, "layer_types must be"),
        ({"layer_types": ..., "global_attn_every_n_layers": 0}, "global_attn_every_n_layers must be a whole number"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling must be none"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_parameters must be an object with"),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn", "factor": 4.0}}},
            "rope_parameters.full_attention must be rope_type default",
        ),
        (
            {"rope_parameters": {SLIDING: {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}},
            "rope_parameters.sliding_attention must",
        ),
        ({"rope_parameters": {FULL: {"rope_theta": -1}}}, "rope_theta of full_attention must be a number above 0"),
        (
            {"rope_parameters": ..., "global_rope_theta": "many"},
            "rope_theta of full_attention must be a number above 0",
        ),
        ({"local_attention": 0}, "attention_window must be at least 1|local_attention"),
        ({"local_attention": 12.5}, "local_attention must be a whole number"),
        ({"norm_bias": "no"}, "norm_bias must be true or false"),
        ({"decoder_bias": 1}, "decoder_bias must be true or false"),
        ({"hidden_activation": "laplace"}, "hidden_activation must be one of"),
        ({"classifier_activation": "laplace"}, "classifier_activation must be one of"),
        ({"classifier_pooling": "max"}, "classifier_pooling must be cls or mean"),
        ({"head_dim": 4}, "head_dim must be hidden_size / num_attention_heads"),
        ({"is_decoder": True}, "is_decoder"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
    ids=str,
)
def test_what_is_not_computed_here_is_refused_by_name(
    changes: dict[str, Any], message: str, preset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        MaskedLM.from_preset(changed(preset, tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_classifier_of_a_config_without_pooling_looks_at_the_first_token(tmp_path: Path) -> None:
    task = small.text_classifier("modern_bert", pooling="mean")
    save_huggingface(task, tmp_path / "preset")
    assert TextClassifier.from_preset(str(tmp_path / "preset"), preprocessor=None).pooling == "mean"
    (tmp_path / "other").mkdir()
    other = changed(tmp_path / "preset", tmp_path / "other", classifier_pooling=...)
    assert TextClassifier.from_preset(other, preprocessor=None).pooling == "cls"
    with pytest.raises(InputError, match="pooling must be one of cls, mean, got 'max'"):
        small.text_classifier("modern_bert", pooling="max")


def test_positions_take_no_room_and_windows_save_work() -> None:
    sizes = {"vocabulary_size": 50_368, "num_layers": 22, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 1152}
    dimensions = Dimensions.of_settings({**sizes, "dropout": 0.0, "attention_window": 128})
    assert (dimensions.num_local_layers, dimensions.window, dimensions.feedforward_matrices) == (14, 129, 3)
    h, i, t = 768, 1152, 8192
    body = 22 * (8 * h * h + 6 * h * i) + 4 * h * (8 * t + 14 * 129)
    assert training_flops_per_token(dimensions, t, 0.0) == 3 * body
    backbone = small.backbone("modern_bert", max_sequence_length=1_000_000)
    assert (
        isinstance(backbone, ModernBertBackbone)
        and backbone.count_params() == small.backbone("modern_bert").count_params()
    )
    long = {"token_ids": np.full((1, 40), 5, "int32"), "padding_mask": np.ones((1, 40), "int32")}
    assert tuple(backbone(long).shape) == (1, 40, 16)


def test_a_backbone_of_either_layout_is_the_same(tmp_path: Path, preset: Path) -> None:
    ours = Backbone.from_preset(str(preset))
    ours.save_to_preset(str(tmp_path / "keras"))
    again = Backbone.from_preset(str(tmp_path / "keras"))
    assert again.settings() == ours.settings()
    assert all((a == b).all() for a, b in zip(again.get_weights(), ours.get_weights(), strict=True))
