"""Cutting documents: sentences of a text, pieces of at most a row, and the two segments of a sentence pair."""

import re
from collections.abc import Sequence

import numpy as np

# A sentence ends behind . ! ? or an ellipsis, closing quotes and brackets included, when white space and no lower-case
# letter follows ("e.g. this" goes on); behind the full stops of Chinese and Japanese; and before a blank line. The white
# space belongs to the next sentence, as the pieces of byte-level BPE want it.
_SENTENCE_END = re.compile(
    r"""[.!?\u2026]["'\u201d\u2019\u00bb)\]]*(?=\s+[^a-z\s])|[\u3002\uff01\uff1f]["\u201d\u300d\u300f\uff09]*|(?<=\S)(?=[^\S\n]*\n\s*\n)"""
)


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, white space and all: joined they are the text.

    >>> split_sentences("It ran. e.g. this did! So.")
    ['It ran. e.g. this did!', ' So.']
    """
    cuts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in zip(cuts, cuts[1:], strict=False) if end > start]


def chunk_lengths(num_tokens: int, longest: int) -> list[int]:
    """Lengths of the pieces of a document: full ones, then what is left.

    >>> chunk_lengths(10, 4)
    [4, 4, 2]
    """
    full, rest = divmod(num_tokens, longest)
    return [longest] * full + ([rest] if rest else [])


def cut_words(begins: np.ndarray, longest: int) -> list[int]:
    """Lengths of the parts of a sentence: as long as they can be, and each but the first begins with a word; a word that is too
    long for a part is cut all the same.

    begins: bool, whether each token begins a word.

    >>> cut_words(np.array([True, False, True, True, False, False, False]), 3)
    [3, 3, 1]
    """
    lengths, place, total = [], 0, len(begins)
    while total - place > longest:
        words = np.flatnonzero(begins[place + 1 : place + longest + 1])
        lengths.append(int(words[-1]) + 1 if len(words) else longest)
        place += lengths[-1]
    return [*lengths, total - place] if total > place else lengths


def cut_sentences(lengths: Sequence[int], longest: int, begins: np.ndarray | None = None) -> list[list[int]]:
    """Pieces of whole sentences, as many as fit; one too long for a piece is cut into full ones and what is left.

    lengths: tokens of each sentence. begins: where given, whether each token of them begins a word, and sentences are cut between
    words alone. Returns the lengths of the sentences (or parts) of each piece.

    >>> cut_sentences([3, 3, 5, 1], 6)
    [[3, 3], [5, 1]]
    """
    pieces: list[list[int]] = []
    room = place = 0
    for length in lengths:
        if not length:
            continue
        end = place + length
        if length > room:
            parts = chunk_lengths(length, longest) if begins is None else cut_words(begins[place:end], longest)
            *full, length = parts
            pieces += [[part] for part in full]
            pieces.append([])
            room = longest
        pieces[-1].append(length)
        room -= length
        place = end
    return pieces


def cut_pairs(lengths: Sequence[int], longest_segment: int, begins: np.ndarray) -> list[list[int]]:
    """Pieces of two neighbouring segments, each of whole sentences, as many as fit into a segment; arguments as of
    `cut_sentences`.

    >>> cut_pairs([3, 3, 5, 1, 2], 6, np.ones(14, bool))
    [[3, 3, 5, 1], [2]]
    """
    segments = cut_sentences(lengths, longest_segment, begins)
    return [sum(segments[place : place + 2], []) for place in range(0, len(segments), 2)]


def pair_point(sentences: Sequence[int], longest_segment: int, choice: int, begins: np.ndarray) -> int:
    """Where a piece is divided in two: between sentences so that each side fits, `choice` (any number) says which such
    place; where there is none before the word that is nearest to the middle; at the end where there is none of these either.

    begins: bool, whether each token of the piece begins a word.

    >>> pair_point([3, 3, 3], 6, 1, np.ones(9, bool))
    6
    """
    total = sum(sentences)
    places, place = [], 0
    for length in sentences[:-1]:
        place += length
        if place <= longest_segment and total - place <= longest_segment:
            places.append(place)
    if places:
        return places[choice % len(places)]
    first, last = max(1, total - longest_segment), min(longest_segment, total - 1)
    words = first + np.flatnonzero(begins[first : last + 1])
    return int(words[np.argmin(np.abs(words - total // 2))]) if len(words) else total
