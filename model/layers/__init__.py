"""Layers that the families share, under KerasHub's names where it has them, for those who build models of them."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clozekit.model.layers.disentangled_encoder import DisentangledAttentionEncoder
    from clozekit.model.layers.gated_encoder import GatedEncoder
    from clozekit.model.layers.masked_lm_head import MaskedLMHead
    from clozekit.model.layers.masked_lm_mask_generator import MaskedLMMaskGenerator
    from clozekit.model.layers.prediction_head import PredictionHead
    from clozekit.model.layers.relative_embedding import RelativeEmbedding
    from clozekit.model.layers.rotary_positions import RotaryPositions
    from clozekit.model.layers.transformer_layers import (
        PositionEmbedding,
        TokenAndPositionEmbedding,
        TransformerEncoder,
    )

_FILES = {
    "DisentangledAttentionEncoder": "disentangled_encoder",
    "GatedEncoder": "gated_encoder",
    "MaskedLMHead": "masked_lm_head",
    "MaskedLMMaskGenerator": "masked_lm_mask_generator",
    "PositionEmbedding": "transformer_layers",
    "PredictionHead": "prediction_head",
    "RelativeEmbedding": "relative_embedding",
    "RotaryPositions": "rotary_positions",
    "TokenAndPositionEmbedding": "transformer_layers",
    "TransformerEncoder": "transformer_layers",
}
__all__ = [
    "DisentangledAttentionEncoder",
    "GatedEncoder",
    "MaskedLMHead",
    "MaskedLMMaskGenerator",
    "PositionEmbedding",
    "PredictionHead",
    "RelativeEmbedding",
    "RotaryPositions",
    "TokenAndPositionEmbedding",
    "TransformerEncoder",
]


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"clozekit.model.layers.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
