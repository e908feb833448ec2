"""Counting words: texts are cut where every learner cuts, and what is distinct alone is normalised and cut further."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from clozekit.tokenizers.common.text_batch import TextBatch, Texts, as_text_batch
from clozekit.tokenizers.kernels.kernel_arrays import Int64s
from clozekit.tokenizers.kernels.word_count_kernel import INNER, SINGLE, SPACE, count_chunks


def byte_classes(spaces: bytes, singles: bytes = b"") -> np.ndarray:
    """uint8 (256,) for `count_distinct`: which bytes stand between chunks, and which are chunks of their own."""
    classes = np.full(256, INNER, dtype=np.uint8)
    classes[list(spaces)] = SPACE
    classes[list(singles)] = SINGLE
    return classes


def count_distinct(texts: Texts, classes: np.ndarray, words_of: Callable[[str], Iterable[str]]) -> Counter[str]:
    """How often each word stands in `texts`, where no word reaches over a byte of `classes` that ends a chunk.

    words_of: the words of a chunk; asked once for each distinct one.
    """
    batch = clean_batch(texts)
    counts: Counter[str] = Counter()
    for chunk, count in spelled(batch, count_chunks(batch.data, batch.offsets, classes)):
        for word in words_of(chunk.decode("utf-8", "replace")):
            counts[word] += count
    return counts


def spelled(batch: TextBatch, found: Int64s) -> list[tuple[bytes, int]]:
    """The bytes and counts of what the counting kernels gave."""
    data = batch.data.tobytes()
    return [(data[start : start + length], count) for start, length, count in found.tolist()]


def clean_batch(texts: Texts) -> TextBatch:
    """The texts as UTF-8, with U+FFFD for half surrogate pairs, which the libraries of the learners refuse."""
    if isinstance(texts, list | tuple):
        texts = [without_surrogates(text) for text in texts]
    return as_text_batch(texts)


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for half surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
