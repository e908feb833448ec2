"""Cleaning: lines that are no sentences, by the rules of C4 (Raffel et al. 2020, section 2.2)."""

import re

import pyarrow as pa

from clozekit.pipelines.settings.corpus_settings import CleanSettings

_ELLIPSES = ("...", "\u2026")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCE_ENDS = (".", "!", "?", '"', "”", "。", "！", "？")


def clean(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """Only the lines that end like a sentence, have enough words and none that is too long, without marks of citations."""

    def is_kept(line: str) -> bool:
        words = line.split()
        return (
            line.endswith(_SENTENCE_ENDS)
            and not line.endswith(_ELLIPSES)
            and len(words) >= settings.min_line_words
            and max(map(len, words)) <= settings.max_word_characters
        )

    def keep(text: str) -> str:
        lines = (_CITATION.sub("", line).rstrip() for line in text.split("\n"))
        return "\n".join(line for line in lines if is_kept(line))

    return pa.array([keep(text) for text in texts.to_pylist()], texts.type)
