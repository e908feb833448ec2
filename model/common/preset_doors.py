"""The way from a class to the presets, which know all classes: the one import here that goes up, on first use."""

from types import ModuleType


def presets() -> ModuleType:
    """`clozekit.model.presets.load_presets`, behind every `from_preset` and `save_to_preset`."""
    from clozekit.model.presets import load_presets

    return load_presets
