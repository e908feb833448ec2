"""Learning byte pair merges from counted words: the most frequent pair first, its words alone looked at again.

The order is that of Hugging Face's trainer, so that both learn the same merges: a pair waits in a heap with its count and
the words where it arose; equally frequent pairs come by their ids. Where another merge has made a piece that is there
already, a pair may arise a second time, and is then a second entry with words of its own, as there.
"""

from typing import Any

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.grown_arrays import longer, longer_rows
from clozekit.tokenizers.kernels.kernel_arrays import Int32s, Int64s, Integer

_EMPTY = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Columns of an entry of the heap, int64: a pair, its count when it was last looked at, where its words stand.
_COUNT, _PAIR, _START, _END = range(4)


@compile_kernel
def learn_merges(symbols: Int32s, ends: Int64s, counts: Int64s, num_symbols: int, vocabulary_size: int) -> Int32s:
    """The merges, int32 (num_merges, 3): left, right and the piece that they make, an old one or the next number.

    symbols: the words one after the other, numbers below num_symbols; changed. Word i ends before `ends[i]` and stands
    `counts[i]` times in the corpus. At the end there are `vocabulary_size` pieces at most, those of one symbol among them.
    """
    num_words = len(ends)
    starts = np.zeros(num_words, np.int64)
    starts[1:] = ends[:-1]
    ends = ends.copy()

    # Pairs: a table of their places in `keys`, and of each pair its count and what this round adds to its words.
    slots = np.full(1 << 16, _EMPTY, np.int64)
    keys = np.empty(1 << 15, np.int64)
    pair_counts = np.zeros(1 << 15, np.int64)
    last_words = np.full(1 << 15, _EMPTY, np.int64)
    num_new = np.zeros(1 << 15, np.int64)
    num_pairs = 0

    # What this round has found: a pair and a word where it arose.
    found = np.empty((1 << 12, 2), np.int64)
    num_found = 0
    entries = np.empty((1 << 12, 4), np.int64)
    num_entries = 0
    heap = np.empty(1 << 12, np.int64)
    heap_size = 0
    places = np.empty(1 << 16, np.int32)
    num_places = 0

    # The symbols of which each piece is made, to know one that is there already.
    spelled = np.arange(max(num_symbols, 16)).astype(np.int32)
    piece_ends = np.arange(1, max(num_symbols, 16) + 1)
    num_pieces = num_symbols
    piece_slots = np.full(1 << 12, _EMPTY, np.int64)
    for piece in range(num_pieces):
        piece_slots = _with_piece(piece_slots, spelled, piece_ends, piece)

    merges = np.empty((1 << 12, 3), np.int32)
    num_merges = 0
    # The first round counts all pairs; a later one merges one pair in its words.
    left: Integer = np.int64(_EMPTY)
    right: Integer = np.int64(_EMPTY)
    made: Integer = np.int64(_EMPTY)
    start: Integer = np.int64(0)
    end: Integer = np.int64(num_words)
    while True:
        for place in range(start, end):
            word = np.int64(place if left < 0 else places[place])
            first = starts[word]
            last = ends[word]
            if left < 0:
                # One more than it has pairs, each of which may be new.
                room = last - first
            else:
                room = 2 * (last - first)
            if num_pairs + room > len(keys):
                slots, keys, pair_counts, last_words, num_new = _more_pairs(
                    slots, keys, pair_counts, last_words, num_new, num_pairs, num_pairs + room
                )
            if num_found + room > len(found):
                found = longer_rows(found, num_found + room)
            count = counts[word]
            if left < 0:
                for position in range(first, last - 1):
                    pair, num_pairs = _pair_of(slots, keys, symbols[position], symbols[position + 1], num_pairs)
                    pair_counts[pair] += count
                    num_found = _note(last_words, num_new, found, num_found, pair, word)
                continue
            write = first
            read = first
            while read < last:
                if symbols[read] != left or read + 1 >= last or symbols[read + 1] != right:
                    symbols[write] = symbols[read]
                    write += 1
                    read += 1
                    continue
                for side in range(2):
                    if side == 0 and write > first:
                        gone = symbols[write - 1], np.int32(left)
                        new = symbols[write - 1], np.int32(made)
                    elif side == 1 and read + 2 < last:
                        gone = np.int32(right), symbols[read + 2]
                        new = np.int32(made), symbols[read + 2]
                    else:
                        continue
                    pair, num_pairs = _pair_of(slots, keys, gone[0], gone[1], num_pairs)
                    pair_counts[pair] -= count
                    pair, num_pairs = _pair_of(slots, keys, new[0], new[1], num_pairs)
                    pair_counts[pair] += count
                    num_found = _note(last_words, num_new, found, num_found, pair, word)
                symbols[write] = made
                write += 1
                read += 2
            ends[word] = write

        # Each pair that arose becomes an entry with the words where it did.
        if num_places + num_found > len(places):
            places = longer(places, num_places + num_found)
        if num_entries + num_found > len(entries):
            entries = longer_rows(entries, num_entries + num_found)
        if heap_size + num_found > len(heap):
            heap = longer(heap, heap_size + num_found)
        for index in range(num_found):
            pair = found[index, 0]
            # Negative: the place where the next word goes, of a pair that has its entry.
            if num_new[pair] > 0:
                if pair_counts[pair] > 0:
                    entries[num_entries, _COUNT] = pair_counts[pair]
                    entries[num_entries, _PAIR] = pair
                    entries[num_entries, _START] = num_places
                    entries[num_entries, _END] = num_places + num_new[pair]
                    heap_size = _push(heap, heap_size, entries, keys, num_entries)
                    num_entries += 1
                size = num_new[pair]
                num_new[pair] = -1 - num_places
                num_places += size
            places[-1 - num_new[pair]] = found[index, 1]
            num_new[pair] -= 1
        for index in range(num_found):
            num_new[found[index, 0]] = 0
            last_words[found[index, 0]] = _EMPTY
        num_found = 0

        entry = np.int64(_EMPTY)
        while num_pieces < vocabulary_size and heap_size > 0:
            entry = heap[0]
            heap_size = _pop(heap, heap_size, entries, keys)
            now = pair_counts[entries[entry, _PAIR]]
            if entries[entry, _COUNT] == now:
                break
            entries[entry, _COUNT] = now
            heap_size = _push(heap, heap_size, entries, keys, entry)
            entry = np.int64(_EMPTY)
        if entry < 0 or entries[entry, _COUNT] < 1:
            return merges[:num_merges].copy()

        left = keys[entries[entry, _PAIR]] >> 32
        right = keys[entries[entry, _PAIR]] & 0x7FFFFFFF
        start = entries[entry, _START]
        end = entries[entry, _END]
        spelled_end = piece_ends[num_pieces - 1]
        left_start = piece_ends[left - 1] if left > 0 else 0
        right_start = piece_ends[right - 1] if right > 0 else 0
        size = piece_ends[left] - left_start + piece_ends[right] - right_start
        if spelled_end + size > len(spelled):
            spelled = longer(spelled, spelled_end + size)
        if num_pieces + 1 > len(piece_ends):
            piece_ends = longer(piece_ends, num_pieces + 1)
        place = spelled_end
        for position in range(left_start, piece_ends[left]):
            spelled[place] = spelled[position]
            place += 1
        for position in range(right_start, piece_ends[right]):
            spelled[place] = spelled[position]
            place += 1
        piece_ends[num_pieces] = place
        made = _piece_like(piece_slots, spelled, piece_ends, num_pieces)
        if made < 0:
            made = num_pieces
            piece_slots = _with_piece(piece_slots, spelled, piece_ends, num_pieces)
            num_pieces += 1
        if num_merges == len(merges):
            merges = longer_rows(merges, num_merges + 1)
        merges[num_merges, 0] = left
        merges[num_merges, 1] = right
        merges[num_merges, 2] = made
        num_merges += 1


@inline
def _note(last_words: Int64s, num_new: Int64s, found: Int64s, num_found: int, pair: int, word: int) -> int:
    """Notes once that the pair arose in the word; the number of what was found."""
    if last_words[pair] != word:
        last_words[pair] = word
        num_new[pair] += 1
        found[num_found, 0] = pair
        found[num_found, 1] = word
        num_found += 1
    return num_found


@inline
def _slot_of(slots: Int64s, keys: Int64s, key: int) -> Integer:
    mask = len(slots) - 1
    slot = np.int64((np.uint64(key) * _MULTIPLIER) >> np.uint64(32)) & mask
    while slots[slot] != _EMPTY and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@inline
def _pair_of(slots: Int64s, keys: Int64s, left: np.int32, right: np.int32, num_pairs: int) -> tuple[Any, int]:
    """(place of the pair in `keys`, number of pairs)."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot_of(slots, keys, key)
    if slots[slot] == _EMPTY:
        slots[slot] = num_pairs
        keys[num_pairs] = key
        num_pairs += 1
    return slots[slot], num_pairs


@inline
def _more_pairs(
    slots: Int64s, keys: Int64s, pair_counts: Int64s, last_words: Int64s, num_new: Int64s, num_pairs: int, least: int
) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s]:
    """The same with room for `least` pairs; what is new of counts is 0, of words none."""
    keys = longer(keys, least)
    size = len(keys)
    more_counts = np.zeros(size, np.int64)
    more_words = np.full(size, _EMPTY, np.int64)
    more_new = np.zeros(size, np.int64)
    more_counts[:num_pairs] = pair_counts[:num_pairs]
    more_words[:num_pairs] = last_words[:num_pairs]
    more_new[:num_pairs] = num_new[:num_pairs]
    num_slots = len(slots)
    while num_slots < 2 * size:
        num_slots *= 2
    slots = np.full(num_slots, _EMPTY, np.int64)
    for pair in range(num_pairs):
        slots[_slot_of(slots, keys, keys[pair])] = pair
    return slots, keys, more_counts, more_words, more_new


@inline
def _piece_slot(slots: Int64s, spelled: Int32s, piece_ends: Int64s, piece: int) -> Integer:
    """The slot of a piece that is spelled like number `piece`, or the empty one where it would stand."""
    start = piece_ends[piece - 1] if piece > 0 else 0
    size = piece_ends[piece] - start
    mixed = np.uint64(size)
    for position in range(start, start + size):
        mixed = (mixed ^ np.uint64(spelled[position])) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    mask = len(slots) - 1
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while slots[slot] != _EMPTY:
        other = slots[slot]
        other_start = piece_ends[other - 1] if other > 0 else 0
        same = piece_ends[other] - other_start == size
        index = 0
        while same and index < size:
            same = spelled[other_start + index] == spelled[start + index]
            index += 1
        if same:
            return slot
        slot = (slot + 1) & mask
    return slot


@inline
def _piece_like(slots: Int64s, spelled: Int32s, piece_ends: Int64s, piece: int) -> Integer:
    """The piece that is spelled like `piece`, or -1."""
    return slots[_piece_slot(slots, spelled, piece_ends, piece)]


@inline
def _with_piece(slots: Int64s, spelled: Int32s, piece_ends: Int64s, piece: int) -> Int64s:
    """The table with `piece`, the last of them; a larger one where it is half full."""
    if 2 * (piece + 1) > len(slots):
        slots = np.full(2 * len(slots), _EMPTY, np.int64)
        for other in range(piece):
            slots[_piece_slot(slots, spelled, piece_ends, other)] = other
    slots[_piece_slot(slots, spelled, piece_ends, piece)] = piece
    return slots


@inline
def _before(entries: Int64s, keys: Int64s, one: int, other: int) -> bool:
    """The more frequent first, then the smaller ids, then the one that came first."""
    if entries[one, _COUNT] != entries[other, _COUNT]:
        return entries[one, _COUNT] > entries[other, _COUNT]
    if entries[one, _PAIR] != entries[other, _PAIR]:
        return keys[entries[one, _PAIR]] < keys[entries[other, _PAIR]]
    return one < other


@inline
def _push(heap: Int64s, size: int, entries: Int64s, keys: Int64s, entry: int) -> int:
    place = size
    while place > 0 and _before(entries, keys, entry, heap[(place - 1) >> 1]):
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = entry
    return size + 1


@inline
def _pop(heap: Int64s, size: int, entries: Int64s, keys: Int64s) -> int:
    size -= 1
    entry = heap[size]
    place = 0
    while 2 * place + 1 < size:
        lower = 2 * place + 1
        if lower + 1 < size and _before(entries, keys, heap[lower + 1], heap[lower]):
            lower += 1
        if not _before(entries, keys, heap[lower], entry):
            break
        heap[place] = heap[lower]
        place = lower
    heap[place] = entry
    return size
