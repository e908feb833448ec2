"""What a vocabulary does to the words it was learned from: coverage, unknown rate, tokens per word, longest pieces."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

NUM_LONGEST = 20


class VocabularyReport(NamedTuple):
    """vocabulary_size, num_words (counted with repeats), num_distinct_words.

    coverage_rate: share of the words without an unknown piece. unknown_rate: share of unknown pieces in all pieces.
    tokens_per_word: the mean over the words (fertility). longest_pieces: the longest first.
    """

    vocabulary_size: int
    num_words: int
    num_distinct_words: int
    coverage_rate: float
    unknown_rate: float
    tokens_per_word: float
    longest_pieces: list[str]


def report_vocabulary(tokenizer: Tokenizer, word_counts: Mapping[str, int]) -> VocabularyReport:
    """Measures `tokenizer` on counted words, those of byte-level BPE written as `count_byte_words` does."""
    words = list(word_counts)
    counts = np.array([word_counts[word] for word in words], dtype=np.int64)
    texts = [_text_of_bytes(word) for word in words] if isinstance(tokenizer, BytePairTokenizer) else words
    token_ids, lengths = tokenizer.encode_batch(texts)
    unknown_token = tokenizer.unknown_token
    known = unknown_token is not None and unknown_token in tokenizer.get_vocabulary()
    unknown_id = tokenizer.token_to_id(unknown_token) if known and unknown_token is not None else -1
    rows = np.repeat(np.arange(len(words)), lengths)
    num_unknown = np.bincount(rows[token_ids == unknown_id], minlength=len(words))
    num_words, num_tokens = int(counts.sum()), int((counts * lengths).sum())
    pieces = sorted(tokenizer.get_vocabulary(), key=lambda piece: (-len(piece), piece))
    return VocabularyReport(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_words=num_words,
        num_distinct_words=len(words),
        coverage_rate=float(counts[num_unknown == 0].sum() / max(1, num_words)),
        unknown_rate=float((counts * num_unknown).sum() / max(1, num_tokens)),
        tokens_per_word=num_tokens / max(1, num_words),
        longest_pieces=pieces[:NUM_LONGEST],
    )


def _text_of_bytes(word: str) -> str:
    from clozekit.tokenizers.byte_pair import byte_characters

    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    return bytes(byte_of[character] for character in word).decode("utf-8", "replace")
