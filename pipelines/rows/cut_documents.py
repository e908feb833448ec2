"""Cutting documents: sentences of a text, pieces of at most a row, and the two segments of a sentence pair."""

import re
from collections.abc import Sequence

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


def cut_sentences(lengths: Sequence[int], longest: int) -> list[list[int]]:
    """Pieces of whole sentences, as many as fit; one too long for a piece is cut into full ones and what is left.

    lengths: tokens of each sentence. Returns the lengths of the sentences (or parts) of each piece.

    >>> cut_sentences([3, 3, 5, 1], 6)
    [[3, 3], [5, 1]]
    """
    pieces: list[list[int]] = []
    room = 0
    for length in lengths:
        if not length:
            continue
        if length > room:
            *full, length = chunk_lengths(length, longest)
            pieces += [[part] for part in full]
            pieces.append([])
            room = longest
        pieces[-1].append(length)
        room -= length
    return pieces


def pair_point(sentences: Sequence[int], longest_segment: int, choice: int) -> int:
    """Where a piece is divided in two: between sentences so that each side fits, `choice` (any number) says which such
    place; in the middle when there is none.

    >>> pair_point([3, 3, 3], 6, 1)
    6
    """
    total = sum(sentences)
    places, place = [], 0
    for length in sentences[:-1]:
        place += length
        if place <= longest_segment and total - place <= longest_segment:
            places.append(place)
    return places[choice % len(places)] if places else total // 2
