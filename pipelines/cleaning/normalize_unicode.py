"""Unicode normal forms of a column of texts."""

import unicodedata
from typing import Literal

import pyarrow as pa

from clozekit.tokenizers.common.text_batch import as_text_batch


def normalize_unicode(texts: pa.Array, form: Literal["NFC", "NFKC"]) -> pa.Array:
    """Each text in the normal form. Arrow's own `utf8_normalize` (25.0) leaves the composed forms decomposed."""
    batch = as_text_batch(texts)
    if not (batch.data[batch.offsets[0] : batch.offsets[-1]] >= 0x80).any():
        return texts
    normal = [text if text.isascii() else unicodedata.normalize(form, text) for text in texts.to_pylist()]
    return pa.array(normal, texts.type)
