"""Cleaning: line ends, invisible characters and forms of Unicode made one."""

import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.cleaning.normalize_unicode import normalize_unicode
from clozekit.pipelines.settings.corpus_settings import CleanSettings

# Characters that say nothing in a plain text: control codes but tab and line feed, invisible spaces, direction marks,
# byte order marks. The joiners U+200C and U+200D stay: Persian, Indian scripts and emoji need them.
_CONTROLS = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x{84}\x{86}-\x{9f}\x{ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}"
    r"\x{2066}-\x{2069}\x{feff}\x{fff9}-\x{fffb}]"
)
_LINE_ENDS = r"\r\n?"


def clean(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    """Line ends as line feeds, without control and invisible characters, in the composed form NFC."""
    texts = pc.replace_substring_regex(texts, _LINE_ENDS, "\n")
    return normalize_unicode(pc.replace_substring_regex(texts, _CONTROLS, ""), "NFC")
