"""Learning a Unigram model from normalized words, as SentencePiece's trainer does it: seeds, then EM and pruning in turns.

Kudo 2018, "Subword Regularization" (arXiv 1804.10959), section 3.2, with what the trainer of version 0.2.3 made of it, so that both
learn the same pieces and scores. (Above 500 MB of words, counted as often as they stand in the corpus, the trainer looks for seeds in
parts of 500 MB, and pieces differ.) The numbers are in unigram_learner_kernel.py.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.kernels import unigram_learner_kernel as kernel
from clozekit.tokenizers.kernels.kernel_arrays import Float32s, Int32s, Int64s
from clozekit.tokenizers.kernels.script_tables import INHERITED, script_numbers

# Stands for a space in pieces; for a character that is too rare to be one; where a piece like <unk> stood in a word.
SPACE, UNKNOWN, RESERVED = "\u2581", "\u2585", "\x1f"
# The trainer's own defaults.
_MOST_SYMBOLS = 16
_MOST_SEEDS = 1_000_000
_ROUNDS_OF_EM = 2
_SHRINKS_TO = np.float32(0.75)
_BEFORE_LAST_CUT = 1.1
_PENALTY = np.float32(0.0001)
# A character more may begin at a place than pieces of two and more.
_MOST_PIECES = _MOST_SYMBOLS + 1


class _Text(NamedTuple):
    """All words one after the other, a 0 behind each.

    codes, string: code points, int32, and the same as str; characters that are too rare are UNKNOWN. characters, weights: those that become
    pieces, the most frequent first, and how often each stands in the corpus. places: of each code point its place in that list,
    len(characters) for others. firsts: where each word begins. counts: of each code point the count of its word.
    """

    codes: Int32s
    string: str
    characters: list[str]
    weights: Float32s
    places: Int32s
    firsts: Int64s
    counts: Int64s


class _Words(NamedTuple):
    """Different words between spaces: where each begins in the text, its length, its count."""

    starts: Int32s
    lengths: Int32s
    counts: Float32s


class _Pieces(NamedTuple):
    """What is left of the seeds: the branch of each (or -1 - place of a character), where it stands in the text, length, score."""

    branches: Int32s
    starts: Int32s
    lengths: Int32s
    scores: Float32s

    def chosen(self, kept: Int32s) -> "_Pieces":
        return _Pieces(self.branches[kept], self.starts[kept], self.lengths[kept], self.scores[kept])


class SizeError(InputError):
    """The words allow no vocabulary of this size; `allowed` is the least or the largest one they do."""

    def __init__(self, too_large: bool, allowed: int) -> None:
        bound = "at most" if too_large else "no fewer than"
        super().__init__(f"the words allow {bound} {allowed:,} pieces; choose another size")
        self.too_large, self.allowed = too_large, allowed


def learn_unigram(
    words: Sequence[tuple[str, int]], num_pieces: int, num_others: int, character_coverage: float
) -> list[tuple[str, float]]:
    """(piece, score), the best first, `num_pieces` of them.

    Args:
        words: normalized, with their counts; SPACE where one begins. A word may stand there more than once.
        num_others: pieces that the vocabulary has besides, like <unk>.
        character_coverage: how large a part of all characters become pieces.

    Raises:
        InputError: where no character is left to learn.
        SizeError: where the characters alone are more, or not so many pieces can be made.
    """
    text = _text_of(words, character_coverage)
    if not text.characters:
        raise InputError(
            f"a vocabulary is learned from characters, pieces like <unk> are all that a character_coverage of"
            f" {character_coverage} has; raise it"
        )
    if len(text.characters) > num_pieces:
        raise SizeError(False, len(text.characters) + num_others)
    counted = _count_words(text)
    pieces, branches, places = _seeds(text)
    nesting = (branches, *kernel.nest_branches(branches, places, len(text.codes)))
    enough = int((num_pieces + num_others) * _BEFORE_LAST_CUT)
    while True:
        for _ in range(_ROUNDS_OF_EM):
            expected = kernel.expect_counts(*counted, *_link(text, nesting, pieces), _MOST_PIECES)
            kept, scores = kernel.maximize(expected)
            pieces = pieces.chosen(kept)._replace(scores=scores)
        pieces = _prune(pieces, enough, counted, _link(text, nesting, pieces))
        if len(pieces.scores) <= enough:
            break
    reachable = kernel.find_reachable(pieces.starts, *_link(text, nesting, pieces), _MOST_PIECES)
    return _finish(text, pieces.chosen(np.flatnonzero(reachable).astype(np.int32)), num_pieces, num_others)


def _text_of(words: Sequence[tuple[str, int]], character_coverage: float) -> _Text:
    codes = np.frombuffer(("\0".join(word for word, _ in words) + "\0").encode("utf-32-le"), dtype=np.int32)
    if len(codes) >= 2**31:
        raise InputError(
            f"a vocabulary is learned from at most 2^31 characters of different words, got {len(codes):,}; take fewer documents"
        )
    ends = np.flatnonzero(codes == 0)
    counts = np.repeat(np.array([count for _, count in words], dtype=np.int64), np.diff(ends, prepend=-1))
    # float64, as bincount has it, holds them up to 2^53.
    of_codes = np.bincount(codes, counts)
    of_codes[0] = 0
    totals = {code: int(of_codes[code]) for code in np.flatnonzero(of_codes).tolist()}
    frequent = []
    covered, total = 0, sum(totals.values())
    for code in sorted(totals, key=lambda code: (-totals[code], code)):
        if np.float32(covered / total) >= np.float32(character_coverage):
            break
        covered += totals[code]
        if chr(code) not in (UNKNOWN, RESERVED):
            frequent.append(code)
    place_of = np.full(len(of_codes), len(frequent), dtype=np.int32)
    place_of[frequent] = np.arange(len(frequent))
    places = place_of[codes]
    replaced = np.where((codes != 0) & (places == len(frequent)), np.int32(ord(UNKNOWN)), codes).astype(np.int32)
    return _Text(
        replaced,
        replaced.tobytes().decode("utf-32-le"),
        [chr(code) for code in frequent],
        np.array([totals[code] for code in frequent], dtype=np.int64).astype(np.float32),
        places,
        np.concatenate([[0], ends[:-1] + 1]),
        counts,
    )


def _count_words(text: _Text) -> _Words:
    """The words cut at spaces, the most frequent first."""
    begins = text.codes == ord(SPACE)
    begins[text.firsts] = True
    starts = np.flatnonzero(begins)
    # A word ends where the next one begins, or at the 0 before that.
    stops = np.append(starts[1:], len(text.codes))
    stops -= text.codes[stops - 1] == 0
    counts: Counter[str] = Counter()
    where: dict[str, int] = {}
    for start, stop, count in zip(starts.tolist(), stops.tolist(), text.counts[starts].tolist(), strict=True):
        word = text.string[start:stop]
        counts[word] += count
        where.setdefault(word, start)
    order = sorted(counts, key=lambda word: (-counts[word], word))
    return _Words(
        np.array([where[word] for word in order], dtype=np.int32),
        np.array([len(word) for word in order], dtype=np.int32),
        np.array([counts[word] for word in order], dtype=np.int64).astype(np.float32),
    )


def _seeds(text: _Text) -> tuple[_Pieces, Int32s, Int32s]:
    """(pieces to begin with, branches, the places of all sorted suffixes): the characters, the most frequent first, and substrings that
    go on in more than one way, those that cover most characters of the corpus first."""
    places = np.flatnonzero(text.codes).astype(np.int32)
    kernel.sort_suffixes(text.codes, places, _MOST_SYMBOLS + 1)
    branches = kernel.find_branches(
        text.codes, places, script_numbers(), _MOST_SYMBOLS, ord(SPACE), ord(UNKNOWN), INHERITED
    )
    before = np.concatenate([[0], np.cumsum(text.counts[places])])
    frequencies = before[branches[:, 1]] - before[branches[:, 0]]
    for row, count in _ends_of_last_word(text, places):
        if same := np.flatnonzero((branches == row).all(axis=1)).tolist():
            frequencies[same[0]] += count
        else:
            branches, frequencies = np.concatenate([branches, [row]]), np.append(frequencies, count)
    branches = branches.astype(np.int32)
    lengths, starts = branches[:, 2], places[branches[:, 0]]
    weights = frequencies.astype(np.float32) * lengths.astype(np.float32)
    bytes_before = np.concatenate([[0], np.cumsum(_bytes_of(text.codes))])
    num_bytes = bytes_before[starts + lengths] - bytes_before[starts]
    order = np.lexsort((lengths, branches[:, 0], -num_bytes, -weights))[:_MOST_SEEDS]
    # Those that begin with another one stand before it, as the kernels want them.
    nested = order[np.lexsort((-lengths[order], branches[order, 1]))]
    ranks = np.empty(len(branches), dtype=np.int32)
    ranks[nested] = np.arange(len(nested))
    num_characters = len(text.characters)
    # Where several places have a character, the last one written stays: the first of the text.
    firsts = np.zeros(num_characters + 1, dtype=np.int32)
    firsts[text.places[::-1]] = np.arange(len(text.places) - 1, -1, -1)
    pieces = _Pieces(
        np.concatenate([-1 - np.arange(num_characters, dtype=np.int32), ranks[order]]),
        np.concatenate([firsts[:num_characters], starts[order]]),
        np.concatenate([np.ones(num_characters, np.int32), lengths[order]]),
        kernel.normalize_seeds(np.concatenate([text.weights, weights[order]])),
    )
    return pieces, branches[nested], places


def _ends_of_last_word(text: _Text, places: Int32s) -> Iterator[tuple[tuple[int, int, int], int]]:
    """(row like those of branches, count) of what the trainer finds besides: ends of its last word that are ends elsewhere. Behind that
    word nothing follows, behind all others a word, so to it they go on in two ways."""
    words = text.string.split("\0")[:-1]
    stop = len(text.string) - 1
    ending = list(range(len(words)))
    for length in range(2, min(_MOST_SYMBOLS, len(words[-1])) + 1):
        start = stop - length
        end = text.string[start:stop]
        ending = [number for number in ending if words[number].endswith(end)]
        count = sum(int(text.counts[text.firsts[number]]) for number in ending)
        if count < 2:
            return
        if kernel.may_be_piece(text.codes, start, length, script_numbers(), ord(SPACE), ord(UNKNOWN), INHERITED):

            def begin(place: int, length: int = length) -> str:
                return text.string[place : place + length]

            yield (bisect_left(places, end, key=begin), bisect_right(places, end, key=begin), length), count


def _bytes_of(codes: Int32s) -> np.ndarray:
    """How many bytes of UTF-8 each code point has."""
    return 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)


def _link(
    text: _Text, nesting: tuple[Int32s, Int32s, Int32s], pieces: _Pieces
) -> tuple[Int32s, Int32s, Int32s, Int32s, Float32s]:
    """The pieces as the kernels take them: longest, characters, prefixes, lengths, scores."""
    character_pieces = np.full(len(text.characters) + 1, kernel.NO_PIECE, dtype=np.int32)
    singles = np.flatnonzero(pieces.branches < 0)
    character_pieces[-1 - pieces.branches[singles]] = singles
    piece_prefixes = np.full(len(pieces.scores), kernel.NO_PIECE, dtype=np.int32)
    longest = np.empty(len(text.codes), dtype=np.int32)
    kernel.link_pieces(*nesting, pieces.branches, piece_prefixes, longest)
    return longest, character_pieces[text.places], piece_prefixes, pieces.lengths, pieces.scores


def _prune(
    pieces: _Pieces, enough: int, counted: _Words, linked: tuple[Int32s, Int32s, Int32s, Int32s, Float32s]
) -> _Pieces:
    """Three in four of the pieces at most: those that nothing could replace, and those whose loss would cost most."""
    num_pieces = len(pieces.scores)
    keeps, ends = np.zeros(num_pieces, dtype=np.bool_), np.zeros(num_pieces, dtype=np.int64)
    alternatives = kernel.find_alternatives(pieces.starts, *linked, _MOST_PIECES, keeps, ends)
    frequencies = kernel.count_best(*counted, *linked, _MOST_PIECES)
    found, losses = kernel.weigh_pieces(frequencies, keeps, alternatives, ends)
    needed = np.isnan(losses)
    dearest = found[~needed][np.argsort(-losses[~needed], kind="stable")]
    # Only characters have no other way to be written, and they are fewer than enough.
    room = max(enough, int(_SHRINKS_TO * np.float32(num_pieces))) - int(needed.sum())
    return pieces.chosen(np.concatenate([found[needed], dearest[:room]]))


def _finish(text: _Text, pieces: _Pieces, num_pieces: int, num_others: int) -> list[tuple[str, float]]:
    """All characters, those that were lost with a score below all others, and the best pieces."""
    strings = [text.string[start : start + length] for start, length in zip(pieces.starts, pieces.lengths, strict=True)]
    scores = dict(zip(strings, pieces.scores, strict=True))
    least, penalty = pieces.scores.min(), np.float32(0)
    final: dict[str, np.float32] = {}
    for character in text.characters:
        if character in scores:
            final[character] = scores[character]
        else:
            final[character] = least + penalty
            penalty += _PENALTY
    for piece in _by_score(scores):
        if len(final) == num_pieces:
            break
        final.setdefault(piece, scores[piece])
    if len(final) < num_pieces:
        raise SizeError(True, len(final) + num_others)
    return [(piece, float(final[piece])) for piece in _by_score(final)]


def _by_score(scores: dict[str, np.float32]) -> list[str]:
    return sorted(scores, key=lambda piece: (-scores[piece], piece))
