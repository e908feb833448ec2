"""Cleaning: lines about cookies, terms and the like."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.settings.corpus_settings import CleanSettings

# A longer line is prose that mentions the phrase.
_MAX_BOILERPLATE_CHARACTERS = 200


def clean(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """Without the short lines that hold one of the phrases, whatever their case."""
    phrases = settings.boilerplate_phrases
    found = re.compile("|".join(map(re.escape, phrases)), re.IGNORECASE)

    def keep(text: str) -> str:
        lines = text.split("\n")
        return "\n".join(line for line in lines if len(line) > _MAX_BOILERPLATE_CHARACTERS or not found.search(line))

    if not all(phrase.isascii() for phrase in phrases):
        return pa.array([keep(text) if found.search(text) else text for text in texts.to_pylist()], texts.type)
    # Arrow's engine looks 20 times as fast, and few texts have such lines.
    holds = pc.match_substring_regex(texts, "|".join(map(_any_case, phrases)))
    return pc.replace_with_mask(texts, holds, pa.array(map(keep, texts.filter(holds).to_pylist()), texts.type))


def _any_case(phrase: str) -> str:
    """A pattern of Arrow's for an ASCII phrase: what Python's IGNORECASE takes for the same letters."""
    others = {"i": "ıİ", "k": "\u212a", "s": "ſ"}
    classes = [
        f"[{letter}{letter.upper()}{others.get(letter, '')}]" if letter.isalpha() else re.escape(letter)
        for letter in phrase.lower()
    ]
    return "".join(classes)
