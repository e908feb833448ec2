"""The words of a batch as numbers: what deduplication and decontamination compare instead of texts."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clozekit.pipelines.cleaning.normalize_unicode import normalize_unicode
from clozekit.pipelines.duplicates import word_kernels
from clozekit.tokenizers.common.text_batch import TextBatch, as_text_batch
from clozekit.tokenizers.kernels.unicode_tables import NUM_CODE_POINTS, unicode_tables


class WordHashes(NamedTuple):
    """hashes: uint64, the words (or n-grams) of all texts one after the other; counts: int64, how many each text has."""

    hashes: np.ndarray
    counts: np.ndarray


@functools.cache
def _lower_table() -> np.ndarray:
    """Code point -> its lower case, where that is one code point."""
    table = np.arange(NUM_CODE_POINTS, dtype=np.int64)
    for code_point, lowered in unicode_tables().lower.items():
        if len(lowered) == 1:
            table[code_point] = lowered[0]
    return table


def fold_texts(texts: pa.Array) -> TextBatch:
    """Texts as they are compared: NFKC, lower case, a run of white space as one space."""
    batch = as_text_batch(normalize_unicode(texts, "NFKC"))
    # A lower-case letter has at most one byte more than its capital of two.
    used = int(batch.offsets[-1] - batch.offsets[0])
    folded = np.empty(2 * used + 8, np.uint8)
    offsets = np.zeros(len(batch.offsets), np.int64)
    word_kernels.fold_texts(batch.data, batch.offsets, unicode_tables().properties, _lower_table(), folded, offsets)
    folded.flags.writeable = False
    return TextBatch(folded, offsets)


def text_hashes(folded: TextBatch) -> np.ndarray:
    """128 bits of each text: uint64 (num_texts, 2)."""
    content = folded.data.data
    bounds = folded.offsets.tolist()
    digests = [
        hashlib.blake2b(content[start:end], digest_size=16).digest()
        for start, end in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).astype(np.uint64)


def hash_words(folded: TextBatch) -> WordHashes:
    """The words of folded texts: runs of letters and digits; in scripts without spaces every character."""
    hashes = np.empty(int(folded.offsets[-1]) + 1, np.uint64)
    counts = np.empty(len(folded.offsets) - 1, np.int64)
    num_words = word_kernels.hash_words(folded.data, folded.offsets, unicode_tables().properties, hashes, counts)
    return WordHashes(hashes[:num_words].copy(), counts)


def hash_ngrams(words: WordHashes, size: int, shortest: int) -> WordHashes:
    """The runs of `size` words of each text; a text with fewer, but at least `shortest`, has one run of all its words."""
    hashes = np.empty(len(words.hashes) + 1, np.uint64)
    counts = np.empty(len(words.counts), np.int64)
    num_ngrams = word_kernels.hash_ngrams(words.hashes, words.counts, size, shortest, hashes, counts)
    return WordHashes(hashes[:num_ngrams].copy(), counts)


def minhash_bands(shingles: WordHashes, num_bands: int, rows_per_band: int) -> np.ndarray:
    """Band hashes of each text, uint64 (num_texts, num_bands). Two texts share a band with the probability
    J ** rows_per_band, J the Jaccard similarity of their shingles (Broder 1997; Leskovec et al., chapter 3)."""
    # Fixed: signatures of different builds may be compared.
    dice = np.random.Generator(np.random.PCG64(20_250_101))
    num_permutations = num_bands * rows_per_band
    factors, shifts = dice.integers(0, 2**64, (2, num_permutations), np.uint64)
    bands = np.empty((len(shingles.counts), num_bands), np.uint64)
    word_kernels.minhash_bands(shingles.hashes, shingles.counts, factors | np.uint64(1), shifts, rows_per_band, bands)
    return bands
