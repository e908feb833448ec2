"""Layers that the families share, and KerasHub's names for those of them that its users build models of."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clozekit.model.layers.masked_lm_head import MaskedLMHead
    from clozekit.model.layers.masked_lm_mask_generator import MaskedLMMaskGenerator
    from clozekit.model.layers.transformer_layers import (
        PositionEmbedding,
        TokenAndPositionEmbedding,
        TransformerEncoder,
    )

_FILES = {
    "MaskedLMHead": "masked_lm_head",
    "MaskedLMMaskGenerator": "masked_lm_mask_generator",
    "PositionEmbedding": "transformer_layers",
    "TokenAndPositionEmbedding": "transformer_layers",
    "TransformerEncoder": "transformer_layers",
}
__all__ = [
    "MaskedLMHead",
    "MaskedLMMaskGenerator",
    "PositionEmbedding",
    "TokenAndPositionEmbedding",
    "TransformerEncoder",
]


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"clozekit.model.layers.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
