"""Cleaning texts, step by step: functions of Arrow columns, no Beam."""

import importlib

import pyarrow as pa

from clozekit.pipelines.settings.corpus_settings import CLEANING_STEPS, CleanSettings


def clean_texts(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """The cleaned texts, step after step in the order of the settings; each a function of its own text and of them.

    Args:
        texts: a string array (num_texts,).
        settings: which steps, and their bounds.

    Returns:
        A string array (num_texts,); a text of which nothing is left is empty.

    Raises:
        MissingExtraError: when fix_encoding is asked for and ftfy is not installed.

    Example:

        >>> import pyarrow as pa
        >>> from clozekit.pipelines.cleaning.clean_text import clean_texts
        >>> from clozekit.pipelines.settings.corpus_settings import CleanSettings
        >>> texts = pa.array(["Write to ada@example.org\\r\\nor call."])
        >>> clean_texts(texts, CleanSettings(unicode=True, mask=("email",))).to_pylist()
        ['Write to <email>\\nor call.']
    """
    for name in CLEANING_STEPS:
        if getattr(settings, name):
            texts = importlib.import_module(f"clozekit.pipelines.cleaning.steps.{name}").clean(texts, settings)
    return texts
