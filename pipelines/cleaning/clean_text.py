"""Cleaning texts, step by step: functions of Arrow columns, no Beam."""

import importlib

import pyarrow as pa

from clozekit.pipelines.settings.corpus_settings import CLEANING_STEPS, CleanSettings


def clean_texts(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """The cleaned texts: each a function of its own text and of the settings. Raises InputError for a step that needs a
    package which is not installed, for no texts too."""
    for name in CLEANING_STEPS:
        if getattr(settings, name):
            texts = importlib.import_module(f"clozekit.pipelines.cleaning.steps.{name}").clean(texts, settings)
    return texts
