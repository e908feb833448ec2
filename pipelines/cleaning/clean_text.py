"""Cleaning texts: Unicode, broken encodings, boilerplate lines, personal data. Functions of Arrow columns, no Beam."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.cleaning.normalize_unicode import normalize_unicode
from clozekit.pipelines.settings.corpus_settings import CleanSettings
from clozekit.tokenizers.common.extras import require_extras

# Characters that say nothing in a plain text: control codes but tab and line feed, invisible spaces, direction marks,
# byte order marks. The joiners U+200C and U+200D stay: Persian, Indian scripts and emoji need them.
_CONTROLS = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x{84}\x{86}-\x{9f}\x{ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}"
    r"\x{2066}-\x{2069}\x{feff}\x{fff9}-\x{fffb}]"
)
_LINE_ENDS = r"\r\n?"
# A longer line is prose that mentions the phrase.
_MAX_BOILERPLATE_CHARACTERS = 200
_ELLIPSES = ("...", "\u2026")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCE_ENDS = (".", "!", "?", '"', "”", "。", "！", "？")

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
MASKS = {
    "email": r"\b[A-Za-z0-9._%+\-]+@(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{2,24}\b",
    # Compressed version 6 addresses need two groups before the gap: `a::b` is a name in C++.
    "ip": rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b"
    r"|\b(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b"
    r"|\b(?:[0-9A-Fa-f]{1,4}:){2,6}(?::[0-9A-Fa-f]{1,4}){1,5}\b",
    # With a country's code, or as North America writes them.
    "phone": r"\+\d{1,3}(?:[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{2,4}){2,4}\b|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b|\b\d{3}[.\-]\d{3}[.\-]\d{4}\b",
}


def clean_texts(texts: pa.Array, options: CleanSettings) -> pa.Array:
    """The cleaned texts: each a function of its own text and of the options."""
    if options.fix_encoding:
        texts = fix_encoding(texts)
    if options.unicode:
        texts = clean_unicode(texts)
    if options.boilerplate_lines:
        texts = drop_boilerplate_lines(texts, options.boilerplate_phrases)
    if options.sentence_lines:
        texts = keep_sentence_lines(texts, options.min_line_words, options.max_word_characters)
    for name in options.mask:
        # Not in brackets that a later step takes for markup; the tokenizer sees three ordinary pieces.
        texts = pc.replace_substring_regex(texts, MASKS[name], f"<{name}>")
    return texts


def clean_unicode(texts: pa.Array) -> pa.Array:
    """Line ends as line feeds, without control and invisible characters, in the composed form NFC."""
    texts = pc.replace_substring_regex(texts, _LINE_ENDS, "\n")
    return normalize_unicode(pc.replace_substring_regex(texts, _CONTROLS, ""), "NFC")


def load_ftfy() -> Any:
    """The module ftfy. Raises MissingExtraError when it is not installed."""
    require_extras("repairing mojibake", "clean")
    import ftfy

    return ftfy


def fix_encoding(texts: pa.Array) -> pa.Array:
    """Text that was decoded with the wrong charset ("cafÃ©") as it was meant, by ftfy; ASCII has nothing to fix."""
    ftfy = load_ftfy()
    config = ftfy.TextFixerConfig(
        unescape_html=False,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        remove_terminal_escapes=False,
        normalization=None,
        explain=False,
    )
    fixed = [text if text.isascii() else ftfy.fix_text(text, config) for text in texts.to_pylist()]
    return pa.array(fixed, texts.type)


def drop_boilerplate_lines(texts: pa.Array, phrases: Sequence[str]) -> pa.Array:
    """Without the short lines that hold one of the phrases, whatever their case."""
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


def keep_sentence_lines(texts: pa.Array, min_words: int, max_word_characters: int) -> pa.Array:
    """Only the lines that end like a sentence, have `min_words` and no longer word than that, without marks of citations
    (Raffel et al. 2020, section 2.2, the rules of C4)."""

    def is_kept(line: str) -> bool:
        words = line.split()
        return (
            line.endswith(_SENTENCE_ENDS)
            and not line.endswith(_ELLIPSES)
            and len(words) >= min_words
            and max(map(len, words)) <= max_word_characters
        )

    def keep(text: str) -> str:
        lines = (_CITATION.sub("", line).rstrip() for line in text.split("\n"))
        return "\n".join(line for line in lines if is_kept(line))

    return pa.array([keep(text) for text in texts.to_pylist()], texts.type)
