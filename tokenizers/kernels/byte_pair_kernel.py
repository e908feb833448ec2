"""Byte-level BPE over UTF-8 bytes: GPT-2's regular expression by hand, words looked up whole, merges by rank.

The regular expression, whose alternatives are tried in this order:
    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
"""

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int32s, Int64s, Integer, UInt64s
from clozekit.tokenizers.kernels.utf8 import decode_at
from clozekit.tokenizers.kernels.word_cache import (
    MAX_WORD_BYTES,
    MAX_WORD_IDS,
    cache_row,
    cached_count,
    cached_id,
    remember,
    word_key,
)

# What the regular expression tells apart. MULTIBYTE: the byte alone does not say.
OTHER, LETTER, NUMBER, SPACE, MULTIBYTE = range(5)  # those before SPACE form words
# Below it, searching all pairs for the best one is faster than keeping them in a heap.
MAX_SCANNED_BYTES = 128
NO_RANK = 0x7FFFFFFF
# A table slot without a merge: no pair of symbols is negative.
EMPTY = -1
_KEY, _RANK, _SYMBOL = 0, 1, 2


@inline
def find_merge(merges: Int64s, left: np.int32, right: np.int32) -> Integer:
    """Slot of the merge of two symbols in `merges`, int64 (power of two, 3), or -1."""
    key = np.int64(left) << 32 | np.int64(right)
    mask = len(merges) - 1
    slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while merges[slot, _KEY] != key:
        if merges[slot, _KEY] == EMPTY:
            return -1
        slot = (slot + 1) & mask
    return slot


@compile_kernel
def fill_merges(merges: Int64s, left: Int32s, right: Int32s, symbols: Int32s) -> None:
    """Puts merge i, of rank i, into the empty table; a pair that stands twice has the later rank, as in a dict."""
    mask = len(merges) - 1
    for rank in range(len(left)):
        key = np.int64(left[rank]) << 32 | np.int64(right[rank])
        slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
        while merges[slot, _KEY] != EMPTY and merges[slot, _KEY] != key:
            slot = (slot + 1) & mask
        merges[slot, _KEY] = key
        merges[slot, _RANK] = rank
        merges[slot, _SYMBOL] = symbols[rank]


@compile_kernel
def encode_byte_pairs(
    data: Bytes, offsets: Int64s, byte_kind: Bytes, kinds: Bytes, byte_symbols: Int32s, merges: Int64s, ordered: bool,
    final_ids: Int32s, cache: UInt64s, token_ids: Int32s, row_lengths: Int64s,
) -> int:  # fmt: skip
    """Fills `token_ids` and `row_lengths`; the number of ids. A text has at most as many ids as bytes.

    ordered: whether every merge comes after those that make its parts, which the heap needs.
    """
    ranks = np.empty(MAX_SCANNED_BYTES, np.int64)
    num_ids = 0
    for text in range(len(offsets) - 1):
        first_of_text = num_ids
        position = offsets[text]
        end = offsets[text + 1]
        while position < end:
            start = position
            # Most words are a space and a run of one kind of ASCII; `word_end` does the same four times slower.
            if data[position] == 0x20 and position + 1 < end:
                position += 1
            kind = byte_kind[data[position]]
            simple = kind < SPACE and data[start] != 0x27
            if simple:
                position += 1
                while position < end and byte_kind[data[position]] == kind:
                    position += 1
                simple = position == end or byte_kind[data[position]] != MULTIBYTE
            if not simple:
                position = word_end(data, start, end, byte_kind, kinds)
            length = position - start
            low = np.uint64(0)
            middle = np.uint64(0)
            high = np.uint64(0)
            row = 0
            if length <= MAX_WORD_BYTES:
                low, middle, high = word_key(data, start, length)
                row = cache_row(cache, low, middle, high)
                count = cached_count(cache, row, low, middle, high, length)
                if count >= 0:
                    for index in range(count):
                        token_ids[num_ids + index] = cached_id(cache, row, index)
                    num_ids += count
                    continue
            for index in range(length):
                token_ids[num_ids + index] = byte_symbols[data[start + index]]
            if length <= MAX_SCANNED_BYTES or not ordered:
                if length > len(ranks):
                    ranks = np.empty(length, np.int64)
                count = _merge_by_scanning(token_ids, num_ids, length, merges, ranks)
            else:
                count = _merge_by_heap(token_ids, num_ids, length, merges)
            kept = 0
            for index in range(count):
                token_id = final_ids[token_ids[num_ids + index]]
                if token_id >= 0:
                    token_ids[num_ids + kept] = token_id
                    kept += 1
            if length <= MAX_WORD_BYTES and kept <= MAX_WORD_IDS:
                remember(cache, row, low, middle, high, length, token_ids, num_ids, kept)
            num_ids += kept
        row_lengths[text] = num_ids - first_of_text
    return num_ids


@inline
def word_end(data: Bytes, start: int, end: int, byte_kind: Bytes, kinds: Bytes) -> int:
    """Where the match of the regular expression at `start` ends."""
    if data[start] == 0x27 and start + 1 < end:
        second = data[start + 1]
        if second == 0x73 or second == 0x74 or second == 0x6D or second == 0x64:  # s t m d
            return start + 2
        if start + 2 < end:
            third = data[start + 2]
            if (
                (second == 0x72 and third == 0x65)  # re
                or (second == 0x76 and third == 0x65)  # ve
                or (second == 0x6C and third == 0x6C)  # ll
            ):
                return start + 3
    position = start
    if data[start] == 0x20 and start + 1 < end:
        position = start + 1
        kind, length = _kind_at(data, position, end, byte_kind, kinds)
        if kind == SPACE:
            position = start
    if position == start:
        kind, length = _kind_at(data, position, end, byte_kind, kinds)
    last = position
    position += length
    while position < end:
        following = np.int64(byte_kind[data[position]])
        length = 1
        if following == MULTIBYTE:
            following, length = _kind_at(data, position, end, byte_kind, kinds)
        if following != kind:
            break
        last = position
        position += length
    # Before a word, the last white space is left to the word, unless it is the only one.
    if kind == SPACE and position < end and last > start:
        return last
    return position


@inline
def _kind_at(data: Bytes, position: int, end: int, byte_kind: Bytes, kinds: Bytes) -> tuple[np.int64, int]:
    kind = np.int64(byte_kind[data[position]])
    if kind != MULTIBYTE:
        return kind, 1
    code_point, length = decode_at(data, position, end)
    return np.int64(kinds[code_point]), length


@inline
def _merge_by_scanning(symbols: Int32s, first: int, count: int, merges: Int64s, ranks: Int64s) -> int:
    """GPT-2's loop: merge every occurrence of the best pair from left to right, again and again; the new count."""
    for index in range(count - 1):
        slot = find_merge(merges, symbols[first + index], symbols[first + index + 1])
        ranks[index] = merges[slot, _RANK] if slot >= 0 else NO_RANK
    while count > 1:
        best = np.int64(NO_RANK)
        best_index = 0
        for index in range(count - 1):
            if ranks[index] < best:
                best = ranks[index]
                best_index = index
        if best == NO_RANK:
            break
        merged = merges[find_merge(merges, symbols[first + best_index], symbols[first + best_index + 1]), _SYMBOL]
        read = best_index
        write = best_index
        while read < count:
            if read < count - 1 and ranks[read] == best:
                symbols[first + write] = merged
                read += 2
                # Its pairs are new: looked up below, when both neighbours stand.
                ranks[write] = -1
                if write > 0:
                    ranks[write - 1] = -1
            else:
                symbols[first + write] = symbols[first + read]
                ranks[write] = ranks[read] if read < count - 1 else NO_RANK
                read += 1
            write += 1
        count = write
        for index in range(max(best_index - 1, 0), count - 1):
            if ranks[index] == -1:
                slot = find_merge(merges, symbols[first + index], symbols[first + index + 1])
                ranks[index] = merges[slot, _RANK] if slot >= 0 else NO_RANK
    return count


@inline
def _merge_by_heap(symbols: Int32s, first: int, count: int, merges: Int64s) -> int:
    """The same result for long words, if the merges are in order: the best pair, the leftmost first; the new count."""
    following = np.empty(count, np.int32)
    previous = np.empty(count, np.int32)
    # A pair enters at most once for itself and twice for each merge. Heap entries are rank << 32 | position.
    heap = np.empty(3 * count, np.int64)
    size = 0
    for index in range(count):
        following[index] = index + 1
        previous[index] = index - 1
        if index + 1 < count:
            slot = find_merge(merges, symbols[first + index], symbols[first + index + 1])
            if slot >= 0:
                size = _push(heap, size, merges[slot, _RANK] << 32 | index)
    while size > 0:
        entry = heap[0]
        size = _pop(heap, size)
        left = entry & 0xFFFFFFFF
        if symbols[first + left] < 0 or following[left] >= count:
            continue
        right = np.int64(following[left])
        slot = find_merge(merges, symbols[first + left], symbols[first + right])
        if slot < 0 or merges[slot, _RANK] != entry >> 32:
            continue
        symbols[first + left] = merges[slot, _SYMBOL]
        symbols[first + right] = -1
        following[left] = following[right]
        if following[right] < count:
            previous[following[right]] = left
            slot = find_merge(merges, symbols[first + left], symbols[first + following[right]])
            if slot >= 0:
                size = _push(heap, size, merges[slot, _RANK] << 32 | left)
        before = np.int64(previous[left])
        if before >= 0:
            slot = find_merge(merges, symbols[first + before], symbols[first + left])
            if slot >= 0:
                size = _push(heap, size, merges[slot, _RANK] << 32 | before)
    kept = 0
    for index in range(count):
        if symbols[first + index] >= 0:
            symbols[first + kept] = symbols[first + index]
            kept += 1
    return kept


@inline
def _push(heap: Int64s, size: int, entry: int) -> int:
    place = size
    while place > 0 and heap[(place - 1) >> 1] > entry:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = entry
    return size + 1


@inline
def _pop(heap: Int64s, size: int) -> int:
    size -= 1
    entry = heap[size]
    place = 0
    while 2 * place + 1 < size:
        lower = 2 * place + 1
        if lower + 1 < size and heap[lower + 1] < heap[lower]:
            lower += 1
        if heap[lower] >= entry:
            break
        heap[place] = heap[lower]
        place = lower
    heap[place] = entry
    return size
