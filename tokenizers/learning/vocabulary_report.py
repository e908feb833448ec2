"""What a vocabulary does to the words it was learned from: coverage, unknown rate, tokens per word, longest pieces."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.byte_pair import BytePairTokenizer, byte_of_character
from clozekit.tokenizers.sentence_piece import SPACE
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.wordpiece import SUFFIX_INDICATOR

NUM_LONGEST = 20


class VocabularyReport(NamedTuple):
    """vocabulary_size, num_words (counted with repeats), num_distinct_words.

    coverage_rate: share of the words without an unknown piece. unknown_rate: share of unknown pieces in all pieces.
    tokens_per_word: the mean over the words (fertility). longest_pieces: the longest first.
    unknown_character_rate: share of the characters that unknown pieces stand for. left_out: characters that are unknown
    alone, the most frequent first, with their counts.
    """

    vocabulary_size: int
    num_words: int
    num_distinct_words: int
    coverage_rate: float
    unknown_rate: float
    tokens_per_word: float
    longest_pieces: list[str]
    unknown_character_rate: float
    left_out: list[tuple[str, int]]


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
    # The characters of a word that are in none of its known pieces. (Normalisation may write one as two or none.)
    written = np.array([0 if piece == unknown_token else len(_written(piece)) for piece in tokenizer.get_vocabulary()])
    known_characters = np.bincount(rows, weights=written[token_ids], minlength=len(words))
    num_characters = np.array([len(text) for text in texts], dtype=np.int64)
    unknown_characters = np.where(num_unknown > 0, np.maximum(num_characters - known_characters, 1), 0)
    return VocabularyReport(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_words=num_words,
        num_distinct_words=len(words),
        coverage_rate=float(counts[num_unknown == 0].sum() / max(1, num_words)),
        unknown_rate=float((counts * num_unknown).sum() / max(1, num_tokens)),
        tokens_per_word=num_tokens / max(1, num_words),
        longest_pieces=pieces[:NUM_LONGEST],
        unknown_character_rate=float((counts * unknown_characters).sum() / max(1, (counts * num_characters).sum())),
        left_out=_left_out(
            tokenizer, unknown_id, {texts[place]: int(counts[place]) for place in np.flatnonzero(num_unknown)}
        ),
    )


def _written(piece: str) -> str:
    return piece.removeprefix(SUFFIX_INDICATOR).removeprefix(SPACE)


def _left_out(tokenizer: Tokenizer, unknown_id: int, texts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The characters of texts with unknown pieces that are unknown alone, with their counts."""
    found: Counter[str] = Counter()
    for text, count in texts.items():
        for character in text:
            found[character] += count
    characters = sorted(found, key=lambda character: (-found[character], character))
    token_ids, lengths = tokenizer.encode_batch(characters)
    rows = np.repeat(np.arange(len(characters)), lengths)
    return [(characters[row], found[characters[row]]) for row in np.unique(rows[token_ids == unknown_id])]


def _text_of_bytes(word: str) -> str:
    return bytes(byte_of_character()[character] for character in word).decode("utf-8", "replace")
