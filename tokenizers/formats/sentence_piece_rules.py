"""Compiled normalisation rules of SentencePiece models: a text by them alone, and those of white space."""

import functools
from typing import Any

import numpy as np

from clozekit.tokenizers.formats.sentence_piece_proto import UNKNOWN, read_rules, write_model
from clozekit.tokenizers.kernels.unicode_tables import SPACE, unicode_tables


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


@functools.cache
def white_space_rules() -> bytes:
    """Compiled rules that make every white space a space, and what stands for one in pieces, and nothing else."""
    import sentencepiece

    sentencepiece.SetMinLogLevel(2)
    spaces = np.flatnonzero(unicode_tables().properties & SPACE)
    rules = [(chr(code), " ") for code in [*spaces.tolist(), ord("▁")] if code != ord(" ")]
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=rules)
    return read_rules(normalizer.serialized_model_proto(), "the rules")
