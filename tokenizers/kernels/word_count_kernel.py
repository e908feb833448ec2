"""Counting the distinct words or chunks of texts where they stand in their bytes, without making strings of them."""

import numpy as np

from clozekit.tokenizers.kernels.byte_pair_kernel import word_end
from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int64s, UInt64s
from clozekit.tokenizers.kernels.word_cache import MAX_WORD_BYTES, word_key

# Classes of a byte: SPACE stands between chunks, SINGLE is one of its own, of runs of INNER the others are made.
SPACE, SINGLE, INNER = range(3)
_EMPTY = -1
_START, _LENGTH, _COUNT = range(3)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@compile_kernel
def count_chunks(data: Bytes, offsets: Int64s, byte_class: Bytes) -> Int64s:
    """Where each distinct chunk first stands, its length in bytes, how often it stands in the texts: int64 (num_chunks, 3),
    in the order of their first places."""
    slots = np.full(1 << 15, _EMPTY, np.int64)
    hashes = np.empty(1 << 14, np.uint64)
    found = np.empty((1 << 14, 3), np.int64)
    num_found = 0
    singles = np.full(256, _EMPTY, np.int64)
    for text in range(len(offsets) - 1):
        position = offsets[text]
        end = offsets[text + 1]
        while position < end:
            kind = byte_class[data[position]]
            if kind == SPACE:
                position += 1
                continue
            start = position
            position += 1
            if kind == SINGLE:
                known = singles[data[start]]
                if known >= 0:
                    found[known, _COUNT] += 1
                    continue
                singles[data[start]] = num_found
            else:
                while position < end and byte_class[data[position]] == INNER:
                    position += 1
            num_found = _count(data, start, position - start, slots, hashes, found, num_found)
            if num_found == len(hashes):
                slots, hashes, found = _larger(slots, hashes, found)
    return found[:num_found].copy()


@compile_kernel
def count_byte_pair_words(data: Bytes, offsets: Int64s, byte_kind: Bytes, kinds: Bytes) -> Int64s:
    """The same of the words of GPT-2's regular expression; the tables are those of `encode_byte_pairs`."""
    slots = np.full(1 << 15, _EMPTY, np.int64)
    hashes = np.empty(1 << 14, np.uint64)
    found = np.empty((1 << 14, 3), np.int64)
    num_found = 0
    for text in range(len(offsets) - 1):
        position = offsets[text]
        end = offsets[text + 1]
        while position < end:
            start = position
            position = word_end(data, start, end, byte_kind, kinds)
            num_found = _count(data, start, position - start, slots, hashes, found, num_found)
            if num_found == len(hashes):
                slots, hashes, found = _larger(slots, hashes, found)
    return found[:num_found].copy()


@inline
def _count(
    data: Bytes, start: int, length: int, slots: Int64s, hashes: UInt64s, found: Int64s, num_found: int
) -> int:  # fmt: skip
    """One more of these bytes; the number of distinct ones."""
    mixed = _hash(data, start, length)
    mask = len(slots) - 1
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while slots[slot] != _EMPTY:
        known = slots[slot]
        if hashes[known] == mixed and found[known, _LENGTH] == length:
            other = found[known, _START]
            index = 0
            while index < length and data[other + index] == data[start + index]:
                index += 1
            if index == length:
                found[known, _COUNT] += 1
                return num_found
        slot = (slot + 1) & mask
    slots[slot] = num_found
    hashes[num_found] = mixed
    found[num_found, _START] = start
    found[num_found, _LENGTH] = length
    found[num_found, _COUNT] = 1
    return num_found + 1


@inline
def _hash(data: Bytes, start: int, length: int) -> np.uint64:
    mixed = np.uint64(length)
    for part in range(start, start + length, MAX_WORD_BYTES):
        low, middle, high = word_key(data, part, min(MAX_WORD_BYTES, start + length - part))
        mixed = (mixed ^ low) * _MULTIPLIER
        mixed = (mixed ^ mixed >> np.uint64(32) ^ middle) * _MULTIPLIER
        mixed = (mixed ^ mixed >> np.uint64(32) ^ high) * _MULTIPLIER
    return mixed ^ mixed >> np.uint64(29)


@inline
def _larger(slots: Int64s, hashes: UInt64s, found: Int64s) -> tuple[Int64s, UInt64s, Int64s]:
    """Twice the room."""
    size = len(hashes)
    more_hashes = np.empty(2 * size, np.uint64)
    more_hashes[:size] = hashes
    more_found = np.empty((2 * size, 3), np.int64)
    more_found[:size] = found
    slots = np.full(2 * len(slots), _EMPTY, np.int64)
    mask = len(slots) - 1
    for index in range(size):
        slot = np.int64(hashes[index] >> np.uint64(32)) & mask
        while slots[slot] != _EMPTY:
            slot = (slot + 1) & mask
        slots[slot] = index
    return slots, more_hashes, more_found
