"""A text by the compiled normalisation rules of a SentencePiece model, and nothing else of its steps."""

import functools
from typing import Any

from clozekit.tokenizers.sentence_piece_proto import UNKNOWN, write_model


def normalized_by(rules: bytes, text: str) -> str:
    """`text` as the library normalises it, its white space left as it is."""
    return text if not rules or not text else str(_normalizer(rules).Normalize(text))


@functools.lru_cache(maxsize=8)
def _normalizer(rules: bytes) -> Any:
    import sentencepiece

    sentencepiece.SetMinLogLevel(2)
    return sentencepiece.SentencePieceNormalizer(
        model_proto=write_model([("<unk>", 0.0, UNKNOWN)], rules),
        add_dummy_prefix=False,
        escape_whitespaces=False,
        remove_extra_whitespaces=False,
    )
