"""The public names: backbones, tasks, preprocessors and presets, as in the documents of KerasHub."""

from clozekit.model.bert import BertBackbone, BertMaskedLM

__all__ = ["BertBackbone", "BertMaskedLM"]
