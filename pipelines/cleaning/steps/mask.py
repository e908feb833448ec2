"""Cleaning: personal data that becomes <email>, <ip> or <phone>."""

import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.settings.corpus_settings import CleanSettings

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


def clean(texts: pa.Array, settings: CleanSettings) -> pa.Array:
    for name in settings.mask:
        # Not in brackets that a later step takes for markup; the tokenizer sees three ordinary pieces.
        texts = pc.replace_substring_regex(texts, MASKS[name], f"<{name}>")
    return texts
