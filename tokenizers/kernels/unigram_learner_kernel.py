"""Learning a Unigram model from counted words: seeds from sorted suffixes, expected counts, and what a piece is worth.

All of it is SentencePiece's trainer (`unigram_model_trainer.cc` and `unigram_model.cc` of version 0.2.3; Kudo 2018, arXiv
1804.10959, section 3.2), value by value: sums are float32 and are made in its order, logarithms float64, so that the same pieces with
the same scores come out. Done otherwise: its lattice asks a trie where a piece begins and adds up probabilities for each pair of pieces that
meet. Here every place of the text knows its longest piece and each piece its longest prefix that is one, and probabilities that meet
are those of their place, added once.

A text is int32 code points, words one after the other, a 0 behind each.
"""

import math
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.grown_arrays import longer, longer_rows
from clozekit.tokenizers.kernels.kernel_arrays import Flags, Float32s, Int32s, Int64s, Integer

NO_PIECE = -1
# What it adds to the least score for a character that is no piece, and from which difference on a sum is its larger part.
_UNKNOWN_PENALTY = np.float32(10.0)
_MINUS_LOG_EPSILON = np.float32(50.0)
# Pieces that are expected less often go.
_LEAST_EXPECTED = np.float32(0.5)
# Its search for the second best path keeps 20 of 10,000 beginnings.
_MOST_WAITING, _LEAST_WAITING = 10_000, 20
_SHORT_RANGE = 12


@compile_kernel
def sort_suffixes(text: Int32s, places: Int32s, depth: int) -> None:
    """Sorts `places` by the text there, `depth` code points of it at most and none behind a 0; in place.

    Quicksort by one code point after the other (Bentley and Sedgewick 1997, "Fast algorithms for sorting and searching strings").
    """
    stack = np.empty((256, 3), np.int64)
    stack[0, 0] = 0
    stack[0, 1] = len(places)
    stack[0, 2] = 0
    size = 1
    while size > 0:
        size -= 1
        low = stack[size, 0]
        high = stack[size, 1]
        at = stack[size, 2]
        if high - low < 2 or at >= depth:
            continue
        if high - low <= _SHORT_RANGE:
            for index in range(low + 1, high):
                place = places[index]
                other = index
                while other > low and _is_before(text, place, places[other - 1], at, depth):
                    places[other] = places[other - 1]
                    other -= 1
                places[other] = place
            continue
        pivot = _middle(text[places[low] + at], text[places[(low + high) // 2] + at], text[places[high - 1] + at])
        less = low
        more = high
        index = low
        while index < more:
            symbol = text[places[index] + at]
            if symbol < pivot:
                places[index], places[less] = places[less], places[index]
                less += 1
                index += 1
            elif symbol > pivot:
                more -= 1
                places[index], places[more] = places[more], places[index]
            else:
                index += 1
        if size + 3 > len(stack):
            stack = longer_rows(stack, 0)
        stack[size, 0] = low
        stack[size, 1] = less
        stack[size, 2] = at
        stack[size + 1, 0] = more
        stack[size + 1, 1] = high
        stack[size + 1, 2] = at
        size += 2
        if pivot != 0:
            stack[size, 0] = less
            stack[size, 1] = more
            stack[size, 2] = at + 1
            size += 1


@inline
def _middle(first: np.int32, second: np.int32, third: np.int32) -> np.int32:
    return max(min(first, second), min(max(first, second), third))


@inline
def _is_before(text: Int32s, left: np.int32, right: np.int32, at: int, depth: int) -> bool:
    for offset in range(at, depth):
        symbol = text[left + offset]
        other = text[right + offset]
        if symbol != other:
            return bool(symbol < other)
        if symbol == 0:
            return False
    return False


@compile_kernel
def find_branches(
    text: Int32s, places: Int32s, scripts: Int32s, most_symbols: int, space: int, unknown: int, inherited: int
) -> Int32s:
    """Substrings with more than one continuation that may be pieces, int32 (num_branches, 3): where the suffixes that begin with one
    are in the sorted `places`, from and to, and its length. In the order in which they end there, the longer ones first.

    The trainer looks at bytes of UTF-8: what goes on in characters that begin with the same byte goes on in one way there.

    scripts: the number of each code point's script, `inherited` where it is that of the code point before.
    """
    found = np.empty((1 << 12, 3), np.int32)
    num_found = 0
    # Open ones: the first of their suffixes, and their length.
    firsts = np.empty(most_symbols + 4, np.int64)
    lengths = np.empty(most_symbols + 4, np.int64)
    firsts[0] = -1
    lengths[0] = -1
    size = 1
    num_places = len(places)
    leaf = most_symbols + 2
    for index in range(num_places + 1):
        first = np.int64(index)
        common = np.int64(-1)
        if 0 < index < num_places:
            common = np.int64(0)
            left = places[index - 1]
            right = places[index]
            while common <= most_symbols and text[left + common] == text[right + common]:
                common += 1
                if text[left + common - 1] == 0:
                    break
        while lengths[size - 1] > common:
            size -= 1
            first = firsts[size]
            length = lengths[size]
            if index - first < 2 or not 2 <= length <= most_symbols:
                continue
            if not may_be_piece(text, places[first], length, scripts, space, unknown, inherited):
                continue
            least = _first_byte(text[places[first] + length])
            if least == _first_byte(text[places[index - 1] + length]):
                continue
            if num_found == len(found):
                found = longer_rows(found, 0)
            found[num_found, 0] = first
            found[num_found, 1] = index
            found[num_found, 2] = length
            num_found += 1
        if lengths[size - 1] < common:
            firsts[size] = first
            lengths[size] = common
            size += 1
        if index < num_places:
            firsts[size] = index
            lengths[size] = leaf
            size += 1
    return found[:num_found]


@inline
def _first_byte(symbol: np.int32) -> np.int32:
    if symbol < 0x80:
        return symbol
    if symbol < 0x800:
        return np.int32(0xC0 | (symbol >> 6))
    if symbol < 0x10000:
        return np.int32(0xE0 | (symbol >> 12))
    return np.int32(0xF0 | (symbol >> 18))


@compile_kernel
def may_be_piece(
    text: Int32s, place: Integer, length: Integer, scripts: Int32s, space: int, unknown: int, inherited: int
) -> bool:
    """No piece crosses words or holds unknown characters, and its characters are of one script."""
    before = np.int32(-1)
    for offset in range(length):
        symbol = text[place + offset]
        if symbol == 0 or symbol == unknown:
            return False
        if symbol == space:
            if offset > 0:
                return False
            continue
        script = scripts[symbol]
        if script == inherited:
            script = before
        if script != before and before >= 0 and script >= 0:
            return False
        before = script
    return True


@compile_kernel
def nest_branches(branches: Int32s, places: Int32s, num_symbols: int) -> tuple[Int32s, Int32s]:
    """Of each place of the text the longest branch that begins there, int32 (num_symbols,), and of each branch the longest one that is
    a prefix of it, int32 (num_branches,); NO_PIECE where there is none. `branches` in the order of `find_branches`."""
    longest = np.full(len(places), NO_PIECE, np.int32)
    prefixes = np.full(len(branches), NO_PIECE, np.int32)
    for branch in range(len(branches) - 1, -1, -1):
        start = branches[branch, 0]
        end = branches[branch, 1]
        prefixes[branch] = longest[start]
        for index in range(start, end):
            longest[index] = branch
    at_places = np.full(num_symbols, NO_PIECE, np.int32)
    for index in range(len(places)):
        at_places[places[index]] = longest[index]
    return at_places, prefixes


@compile_kernel
def link_pieces(
    branches: Int32s,
    at_places: Int32s,
    prefixes: Int32s,
    piece_branches: Int32s,
    piece_prefixes: Int32s,
    longest: Int32s,
) -> None:
    """Writes, for pieces as they are now, what `nest_branches` says of branches: the longest piece at each place into `longest`, the
    longest proper prefix that is one into `piece_prefixes`. piece_branches: the branch of each piece, negative for characters."""
    piece_of = np.full(len(branches), NO_PIECE, np.int32)
    for piece in range(len(piece_branches)):
        if piece_branches[piece] >= 0:
            piece_of[piece_branches[piece]] = piece
    # A branch stands behind those that begin with it, so from the end every prefix is known before.
    above = np.full(len(branches), NO_PIECE, np.int32)
    for branch in range(len(branches) - 1, -1, -1):
        prefix = NO_PIECE if prefixes[branch] < 0 else above[prefixes[branch]]
        piece = piece_of[branch]
        if piece < 0:
            above[branch] = prefix
        else:
            above[branch] = piece
            piece_prefixes[piece] = prefix
    for place in range(len(at_places)):
        branch = at_places[place]
        longest[place] = NO_PIECE if branch < 0 else above[branch]


@inline
def _pieces_at(
    place: np.int64,
    end: np.int64,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    unknown_score: np.float32,
    ids: Int32s,
    ends: Int64s,
    node_scores: Float32s,
    first: np.int64,
) -> np.int64:
    """Writes the pieces that begin at `place` and end at `end` at the latest into rows from `first` on, the shorter ones first; the row
    behind the last one. A character that is no piece comes last, as piece 0: that is what the trainer takes for the unknown one."""
    size = first
    character = characters[place]
    if character >= 0:
        ids[size] = character
        ends[size] = place + 1
        node_scores[size] = scores[character]
        size += 1
    count = 0
    piece = longest[place]
    while piece >= 0:
        if place + lengths[piece] <= end:
            count += 1
        piece = prefixes[piece]
    row = size + count
    piece = longest[place]
    while piece >= 0:
        if place + lengths[piece] <= end:
            row -= 1
            ids[row] = piece
            ends[row] = place + lengths[piece]
            node_scores[row] = scores[piece]
        piece = prefixes[piece]
    size += count
    if character < 0:
        ids[size] = 0
        ends[size] = place + 1
        node_scores[size] = unknown_score
        size += 1
    return size


@inline
def _log_sum(left: np.float32, right: np.float32) -> np.float32:
    """log(exp(left) + exp(right)), rounded as the trainer does."""
    low = min(left, right)
    high = max(left, right)
    if high > low + _MINUS_LOG_EPSILON:
        return high
    return np.float32(np.float64(high) + math.log1p(math.exp(np.float64(low - high))))


@compile_kernel
def expect_counts(
    starts: Int32s,
    num_symbols: Int32s,
    counts: Float32s,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    most_pieces: int,
) -> Float32s:
    """How often each piece is expected in the words: the E step, float32 (num_pieces,).

    starts, num_symbols, counts: where each word stands in the text, its length, its count. characters: of each place of the text the
    piece of its character alone, or NO_PIECE. most_pieces: that may begin at one place.
    """
    expected = np.zeros(len(scores), np.float32)
    unknown_score = _unknown_score(scores)
    most_symbols = _largest(num_symbols)
    ids = np.empty(most_symbols * most_pieces + 1, np.int32)
    ends = np.empty(most_symbols * most_pieces + 1, np.int64)
    node_scores = np.empty(most_symbols * most_pieces + 1, np.float32)
    firsts = np.empty(most_symbols + 2, np.int64)
    # Sums of probabilities up to a place, and from it on. A place is reached by its first piece, which is not added but set.
    before = np.empty(most_symbols + 1, np.float32)
    behind = np.empty(most_symbols + 1, np.float32)
    reached = np.zeros(most_symbols + 1, np.bool_)
    for word in range(len(starts)):
        start = np.int64(starts[word])
        length = np.int64(num_symbols[word])
        end = start + length
        reached[: length + 1] = False
        before[0] = np.float32(0.0)
        size = np.int64(0)
        for offset in range(length):
            firsts[offset] = size
            size = _pieces_at(
                start + offset,
                end,
                longest,
                characters,
                prefixes,
                lengths,
                scores,
                unknown_score,
                ids,
                ends,
                node_scores,
                size,
            )
            for node in range(firsts[offset], size):
                here = node_scores[node] + before[offset]
                target = ends[node] - start
                if reached[target]:
                    before[target] = _log_sum(before[target], here)
                else:
                    before[target] = here
                    reached[target] = True
        firsts[length] = size
        total = before[length]
        behind[length] = np.float32(0.0)
        for offset in range(length - 1, -1, -1):
            for node in range(firsts[offset], firsts[offset + 1]):
                here = node_scores[node] + behind[ends[node] - start]
                if node == firsts[offset]:
                    behind[offset] = here
                else:
                    behind[offset] = _log_sum(behind[offset], here)
        count = np.float64(counts[word])
        for offset in range(length):
            for node in range(firsts[offset], firsts[offset + 1]):
                share = before[offset] + node_scores[node]
                share = share + behind[ends[node] - start]
                share = share - total
                piece = ids[node]
                expected[piece] = np.float32(np.float64(expected[piece]) + count * math.exp(np.float64(share)))
    return expected


@inline
def _largest(lengths: Int32s) -> np.int64:
    largest = np.int64(1)
    for length in lengths:
        largest = max(largest, np.int64(length))
    return largest


@inline
def _unknown_score(scores: Float32s) -> np.float32:
    least = scores[0]
    for piece in range(len(scores)):
        least = min(least, scores[piece])
    return least - _UNKNOWN_PENALTY


@compile_kernel
def maximize(expected: Float32s) -> tuple[Int32s, Float32s]:
    """The pieces that stay, int32, and their scores, float32: the M step, with its sparse prior (Liang and Klein 2007, "Structured Bayesian
    Nonparametric Models with Variational Inference")."""
    kept = np.empty(len(expected), np.int32)
    num_kept = 0
    total = np.float32(0.0)
    for piece in range(len(expected)):
        if expected[piece] < _LEAST_EXPECTED:
            continue
        kept[num_kept] = piece
        num_kept += 1
        total = total + expected[piece]
    log_total = np.float32(_digamma(np.float64(total)))
    scores = np.empty(num_kept, np.float32)
    for index in range(num_kept):
        scores[index] = np.float32(_digamma(np.float64(expected[kept[index]])) - np.float64(log_total))
    return kept[:num_kept].copy(), scores


@inline
def _digamma(value: float) -> float:
    result = 0.0
    while value < 7.0:
        result -= 1.0 / value
        value += 1.0
    value -= 1.0 / 2.0
    first = 1.0 / value
    second = first * first
    fourth = second * second
    result += (
        math.log(value)
        + (1.0 / 24.0) * second
        - (7.0 / 960.0) * fourth
        + (31.0 / 8064.0) * fourth * second
        - (127.0 / 30720.0) * fourth * fourth
    )
    return result


@compile_kernel
def normalize_seeds(weights: Float32s) -> Float32s:
    """Logarithms of the seeds' shares, float32."""
    total = 0.0
    for piece in range(len(weights)):
        total = total + np.float64(weights[piece])
    log_total = math.log(total)
    scores = np.empty(len(weights), np.float32)
    for piece in range(len(weights)):
        scores[piece] = np.float32(math.log(np.float64(weights[piece])) - log_total)
    return scores


class _Rows(NamedTuple):
    """Pieces that a text may be made of, a row each: ids, int32, where they begin and end, their scores, float32, the best score up to
    and with each, the row before it there. heads, tails, following: of each offset the first and the last row that ends there, and of
    each row the next one that ends where it does; -1 where there is none."""

    ids: Int32s
    ends: Int64s
    begins: Int64s
    scores: Float32s
    best: Float32s
    previous: Int64s
    heads: Int64s
    tails: Int64s
    following: Int64s


@inline
def _empty_rows(most_symbols: np.int64, most_pieces: int) -> _Rows:
    # Two more: where all paths begin and where they end.
    size = most_symbols * most_pieces + 2
    return _Rows(
        np.empty(size, np.int32),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.int64),
        np.empty(most_symbols + 1, np.int64),
        np.empty(most_symbols + 1, np.int64),
        np.empty(size, np.int64),
    )


@compile_kernel
def count_best(
    starts: Int32s,
    num_symbols: Int32s,
    counts: Float32s,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    most_pieces: int,
) -> Float32s:
    """How often each piece stands in the best segmentations of the words, float32 (num_pieces,)."""
    frequencies = np.zeros(len(scores), np.float32)
    unknown_score = _unknown_score(scores)
    most_symbols = _largest(num_symbols)
    rows = _empty_rows(most_symbols, most_pieces)
    path = np.empty(most_symbols + 1, np.int64)
    for word in range(len(starts)):
        start = np.int64(starts[word])
        length = np.int64(num_symbols[word])
        _best_paths(start, length, longest, characters, prefixes, lengths, scores, unknown_score, False, rows)
        count = counts[word]
        _, node = _best_before(rows.heads[length], rows.following, rows.best, np.float32(0.0), False)
        num_nodes = 0
        while node >= 0:
            path[num_nodes] = node
            num_nodes += 1
            node = rows.previous[node]
        # From the first to the last: a piece may stand twice, and the order in which floats are added tells.
        for index in range(num_nodes - 1, -1, -1):
            piece = rows.ids[path[index]]
            frequencies[piece] = frequencies[piece] + count
    return frequencies


@inline
def _best_paths(
    start: np.int64,
    length: np.int64,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    unknown_score: np.float32,
    leaves_out_whole: bool,
    rows: _Rows,
) -> np.int64:
    """Writes the pieces of `length` characters of the text from `start` on into rows, with the best score up to and with each and the
    piece before it there; those that end at an offset are a list there, in the order of their beginnings. Gives the number of
    rows. leaves_out_whole: the piece of all characters is in no list."""
    heads, tails, following = rows.heads, rows.tails, rows.following
    heads[: length + 1] = -1
    size = np.int64(0)
    for offset in range(length):
        first = size
        size = _pieces_at(
            start + offset,
            start + length,
            longest,
            characters,
            prefixes,
            lengths,
            scores,
            unknown_score,
            rows.ids,
            rows.ends,
            rows.scores,
            size,
        )
        for node in range(first, size):
            rows.begins[node] = offset
            target = rows.ends[node] - start
            if leaves_out_whole and offset == 0 and target == length:
                continue
            rows.best[node], rows.previous[node] = _best_before(
                heads[offset], following, rows.best, rows.scores[node], offset == 0
            )
            following[node] = -1
            if heads[target] < 0:
                heads[target] = node
            else:
                following[tails[target]] = node
            tails[target] = node
    return size


@inline
def _best_before(
    head: np.int64, following: Int64s, best: Float32s, score: np.float32, is_begin: bool
) -> tuple[np.float32, np.int64]:
    """The best score up to and with a piece of `score`, and the piece before it: the first of the best ones; -1 at the begin."""
    if is_begin:
        return np.float32(0.0) + score, np.int64(-1)
    found = head
    highest = best[head] + score
    other = following[head]
    while other >= 0:
        here = best[other] + score
        if here > highest:
            highest = here
            found = other
        other = following[other]
    return highest, found


@compile_kernel
def find_alternatives(
    piece_starts: Int32s,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    most_pieces: int,
    keeps: Flags,
    alternative_ends: Int64s,
) -> Int32s:
    """The pieces of which each piece is made where it is not used itself, int32, one after the other; those of piece i end before
    `alternative_ends[i]`, which is written, as is `keeps`: whether it is the best segmentation of itself. piece_starts: where it
    stands in the text.

    The second best path is found as the trainer does, by A* from the end (Nagata 1994, "A Stochastic Japanese Morphological Analyzer
    Using a Forward-DP Backward-A* N-Best Search Algorithm"), whose heap decides between equals: that of C++'s standard library.
    """
    unknown_score = _unknown_score(scores)
    most_symbols = _largest(lengths)
    rows = _empty_rows(most_symbols, most_pieces)
    ids, begins, node_scores, best = rows.ids, rows.begins, rows.scores, rows.best
    heads, following = rows.heads, rows.following
    # Beginnings of paths from the end on: the node they have come to, the beginning before, scores so far and at best.
    nodes = np.empty(1 << 10, np.int64)
    nexts = np.empty(1 << 10, np.int64)
    so_far = np.empty(1 << 10, np.float32)
    at_best = np.empty(1 << 10, np.float32)
    heap = np.empty(_MOST_WAITING + len(ids), np.int64)
    spare = np.empty(_LEAST_WAITING, np.int64)
    alternatives = np.empty(1 << 12, np.int32)
    num_alternatives = 0
    for piece in range(len(lengths)):
        start = np.int64(piece_starts[piece])
        length = np.int64(lengths[piece])
        size = _best_paths(start, length, longest, characters, prefixes, lengths, scores, unknown_score, False, rows)
        # Two nodes more: where all paths begin and where they end.
        begin = size
        end = size + 1
        node_scores[begin] = np.float32(0.0)
        best[begin] = np.float32(0.0)
        begins[end] = length
        node_scores[end] = np.float32(0.0)
        best[end], _ = _best_before(heads[length], following, best, np.float32(0.0), False)

        nodes[0] = end
        nexts[0] = -1
        so_far[0] = np.float32(0.0)
        at_best[0] = best[end]
        num_paths = 1
        heap[0] = 0
        waiting = 1
        num_results = 0
        keeps[piece] = True
        while waiting > 0:
            top = heap[0]
            waiting = _pop(heap, waiting, at_best)
            node = nodes[top]
            if node == begin:
                num_results += 1
                path = nexts[top]
                if num_results == 1:
                    # More than one piece before the end: the piece itself is not the best there is.
                    keeps[piece] = nexts[nexts[path]] < 0
                    continue
                if keeps[piece]:
                    while nexts[path] >= 0:
                        if num_alternatives == len(alternatives):
                            alternatives = longer(alternatives, 0)
                        alternatives[num_alternatives] = ids[nodes[path]]
                        num_alternatives += 1
                        path = nexts[path]
                break
            other = begin if begins[node] == 0 else heads[begins[node]]
            while other >= 0:
                if num_paths == len(nodes):
                    nodes = longer(nodes, 0)
                    nexts = longer(nexts, 0)
                    so_far = longer(so_far, 0)
                    at_best = longer(at_best, 0)
                nodes[num_paths] = other
                nexts[num_paths] = top
                so_far[num_paths] = node_scores[other] + so_far[top]
                at_best[num_paths] = best[other] + so_far[top]
                waiting = _push(heap, waiting, at_best, num_paths)
                num_paths += 1
                other = -1 if other == begin else following[other]
            if waiting >= _MOST_WAITING:
                for index in range(_LEAST_WAITING):
                    spare[index] = heap[0]
                    waiting = _pop(heap, waiting, at_best)
                waiting = 0
                for index in range(_LEAST_WAITING):
                    waiting = _push(heap, waiting, at_best, spare[index])
        alternative_ends[piece] = num_alternatives
    return alternatives[:num_alternatives]


@inline
def _push(heap: Int64s, size: int, values: Float32s, item: np.int64) -> int:
    _raise(heap, size, values, item)
    return size + 1


@inline
def _raise(heap: Int64s, hole: int, values: Float32s, item: np.int64) -> None:
    while hole > 0 and values[heap[(hole - 1) // 2]] < values[item]:
        heap[hole] = heap[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole] = item


@inline
def _pop(heap: Int64s, size: int, values: Float32s) -> int:
    """Takes the first one away: the hole goes down by the larger child to the end, and the last one up from there."""
    size -= 1
    if size == 0:
        return 0
    item = heap[size]
    hole = 0
    child = 0
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if values[heap[child]] < values[heap[child - 1]]:
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * (child + 1)
        heap[hole] = heap[child - 1]
        hole = child - 1
    _raise(heap, hole, values, item)
    return size


@compile_kernel
def weigh_pieces(
    frequencies: Float32s, keeps: Flags, alternatives: Int32s, alternative_ends: Int64s
) -> tuple[Int32s, Float32s]:
    """(piece, what likelihood its loss would cost) of those that can be spared, and NaN for those that nothing could replace; pieces that
    are never used stand in neither."""
    total_of_all = 0.0
    for piece in range(len(frequencies)):
        total_of_all = total_of_all + np.float64(frequencies[piece])
    total = np.float32(total_of_all)
    log_total = np.float32(math.log(np.float64(total)))
    found = np.empty(len(frequencies), np.int32)
    losses = np.empty(len(frequencies), np.float32)
    num_found = 0
    start = np.int64(0)
    for piece in range(len(frequencies)):
        end = alternative_ends[piece]
        frequency = frequencies[piece]
        if frequency == 0 or not keeps[piece]:
            start = end
            continue
        found[num_found] = piece
        if start == end:
            losses[num_found] = np.float32(np.nan)
        else:
            share = frequency / total
            with_it = np.float32(math.log(np.float64(frequency)) - np.float64(log_total))
            log_without = np.float32(math.log(np.float64(total + frequency * np.float32(end - start - 1))))
            without_it = np.float32(0.0)
            for index in range(start, end):
                other = frequencies[alternatives[index]]
                without_it = np.float32(
                    np.float64(without_it) + (math.log(np.float64(other + frequency)) - np.float64(log_without))
                )
            losses[num_found] = share * (with_it - without_it)
        num_found += 1
        start = end
    return found[:num_found], losses[:num_found]


@compile_kernel
def find_reachable(
    piece_starts: Int32s,
    longest: Int32s,
    characters: Int32s,
    prefixes: Int32s,
    lengths: Int32s,
    scores: Float32s,
    most_pieces: int,
) -> Flags:
    """Whether each piece is at least as good as the best other way to write it, bool (num_pieces,)."""
    unknown_score = _unknown_score(scores)
    most_symbols = _largest(lengths)
    rows = _empty_rows(most_symbols, most_pieces)
    reachable = np.ones(len(lengths), np.bool_)
    for piece in range(len(lengths)):
        start = np.int64(piece_starts[piece])
        length = np.int64(lengths[piece])
        _best_paths(start, length, longest, characters, prefixes, lengths, scores, unknown_score, True, rows)
        if rows.heads[length] >= 0:
            other, _ = _best_before(rows.heads[length], rows.following, rows.best, np.float32(0.0), False)
            reachable[piece] = not other > scores[piece]
    return reachable
