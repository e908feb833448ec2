"""Learning the merges of byte pair encoding from counted words: what WordPiece and byte-level BPE share."""

from collections.abc import Iterable, Mapping

import numpy as np

from clozekit.tokenizers.kernels import pair_learner_kernel

# Merges depend on how counts compare, not on their size, so larger corpora are scaled down to this many words.
MAX_LEARNER_WORDS = 20_000_000


def learn_merges(
    word_counts: Mapping[str, int],
    alphabet: Iterable[str],
    vocabulary_size: int,
    continuing: Mapping[str, str] | None = None,
) -> tuple[list[str], list[tuple[str, str]]]:
    """(pieces, the alphabet first, by code points; the merges that made the others, in their order).

    continuing: character -> what stands for it where it is not the first of its word.

    The merges are those that the BPE trainer of Hugging Face `tokenizers` learns from these words, counted or repeated;
    equally frequent pairs merge by the code points of their characters, so alike in every process.
    """
    pieces = sorted(alphabet)
    ids = {character: number for number, character in enumerate(pieces)}
    words = list(word_counts)
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.cumsum(lengths)
    code_points = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    symbols = _table(ids)[code_points]
    if continuing is not None:
        inside = _table({character: ids[other] for character, other in continuing.items()})[code_points]
        firsts = np.zeros(len(code_points), dtype=np.bool_)
        firsts[(ends - lengths)[lengths > 0]] = True
        symbols = np.where(firsts, symbols, inside)
    learned = pair_learner_kernel.learn_merges(
        np.ascontiguousarray(symbols, dtype=np.int32),
        ends,
        np.array(list(word_counts.values()), dtype=np.int64),
        len(pieces),
        vocabulary_size,
    )
    merges = []
    for left, right, made in learned.tolist():
        merges.append((pieces[left], pieces[right]))
        if made == len(pieces):
            pieces.append(pieces[left] + pieces[right])
    return pieces, merges


def _table(numbers: Mapping[str, int]) -> np.ndarray:
    table = np.zeros(max(map(ord, numbers), default=0) + 1, dtype=np.int32)
    for character, number in numbers.items():
        table[ord(character)] = number
    return table


def scaled_down(word_counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of a corpus of MAX_LEARNER_WORDS words at most, each word at least once."""
    scale = min(1.0, MAX_LEARNER_WORDS / max(1, sum(word_counts.values())))
    return {word: max(1, round(count * scale)) for word, count in word_counts.items()}
