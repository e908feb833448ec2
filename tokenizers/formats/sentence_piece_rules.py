"""Compiled normalisation rules of SentencePiece models: a text by them, those of white space, and the library's by name."""

import functools
from collections.abc import Sequence
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


class NamedRules:
    """Rules that the library has by a name, as its trainer applies them to words: SPACE before each and for spaces inside.

    Args:
        name: `nmt_nfkc`, or `nmt_nfkc_cf`, which makes lower-case of it.

    compiled: what a model holds of them.
    """

    def __init__(self, name: str) -> None:
        import sentencepiece

        sentencepiece.SetMinLogLevel(2)
        self._normalizer = sentencepiece.SentencePieceNormalizer(
            rule_name=name, add_dummy_prefix=True, escape_whitespaces=True, remove_extra_whitespaces=True
        )
        self.compiled = read_rules(self._normalizer.serialized_model_proto(), "the rules")

    def normalized(self, words: Sequence[str]) -> list[str]:
        return list(self._normalizer.normalize(list(words)))
