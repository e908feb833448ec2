"""A bounded memory of words and their ids, one cache line a word, for the compiled kernels.

Row layout, uint64 (num_rows, 8): 0..2 the word's bytes, zero-padded; 3 its length, then the number of ids (8 bits
each), then the first id (upper 32 bits); 4..7 eight more ids. The bytes themselves are compared, never a hash alone,
and a new word simply takes the row of an old one: memory stays what it was.
"""

import numpy as np

from clozekit.tokenizers.kernels.compiled import inline, load_8_bytes
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int32s, Integer, UInt64s, WordKey

MAX_WORD_BYTES = 24
MAX_WORD_IDS = 9
# Measured on technical text and Wikipedia: 2^15 rows (2 MiB) are within 3 % of the best size on both.
ROW_BITS = 16

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_FIRST, _SECOND, _THIRD = _MULTIPLIERS
_FOLD = np.uint64(32)
_BYTE = np.uint64(8)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def new_word_cache(row_bits: int = ROW_BITS) -> np.ndarray:
    """An empty cache of 2^row_bits rows, on cache lines."""
    num_rows = 1 << row_bits
    flat = np.zeros(num_rows * 8 + 8, dtype=np.uint64)
    first = (-flat.ctypes.data % 64) // 8
    return flat[first : first + num_rows * 8].reshape(num_rows, 8)


@inline
def word_key(data: Bytes, start: int, length: int) -> WordKey:
    """The bytes of a word of at most MAX_WORD_BYTES bytes as three integers."""
    if start + MAX_WORD_BYTES <= len(data):
        if length <= 8:
            return _low_bytes(load_8_bytes(data, start), length), np.uint64(0), np.uint64(0)
        first = load_8_bytes(data, start)
        if length <= 16:
            return first, _low_bytes(load_8_bytes(data, start + 8), length - 8), np.uint64(0)
        return first, load_8_bytes(data, start + 8), _low_bytes(load_8_bytes(data, start + 16), length - 16)
    # The last bytes of the buffer: what follows it is not ours to read.
    first = np.uint64(0)
    second = np.uint64(0)
    third = np.uint64(0)
    for index in range(length):
        byte = np.uint64(data[start + index]) << (_BYTE * np.uint64(index & 7))
        if index < 8:
            first |= byte
        elif index < 16:
            second |= byte
        else:
            third |= byte
    return first, second, third


@inline
def _low_bytes(word: np.uint64, count: int) -> np.uint64:
    if count == 8:
        return word
    return word & ~(_ALL << (_BYTE * np.uint64(count)))


@inline
def cache_row(cache: UInt64s, first: np.uint64, second: np.uint64, third: np.uint64) -> Integer:
    """The row where a word of this key may stand."""
    mixed = first * _FIRST ^ second * _SECOND ^ third * _THIRD
    mixed ^= mixed >> _FOLD
    return np.int64((mixed * _FIRST) >> _FOLD) & (len(cache) - 1)


@inline
def cached_count(
    cache: UInt64s, row: int, first: np.uint64, second: np.uint64, third: np.uint64, length: int
) -> Integer:
    """Number of ids of the word, or -1 if the row holds another."""
    if cache[row, 0] != first or cache[row, 1] != second or cache[row, 2] != third:
        return -1
    described = np.int64(cache[row, 3] & np.uint64(0xFFFF))
    if described & 0xFF != length:
        return -1
    return described >> 8


@inline
def cached_id(cache: UInt64s, row: int, index: int) -> np.int32:
    """The id number `index` of the word in `row`."""
    # ids 1.. stand in the halves of words 4..7; id 0 in the upper half of word 3.
    half = index + 7
    shift = _FOLD if half & 1 else np.uint64(0)
    return np.int32((cache[row, half >> 1] >> shift) & np.uint64(0xFFFFFFFF))


@inline
def remember(
    cache: UInt64s, row: int, first: np.uint64, second: np.uint64, third: np.uint64, length: int, ids: Int32s,
    start: int, count: int,
) -> None:  # fmt: skip
    """Puts a word and its ids, `ids[start : start + count]`, into the row."""
    cache[row, 0] = first
    cache[row, 1] = second
    cache[row, 2] = third
    cache[row, 3] = np.uint64(length | count << 8)
    for word in range(4, 8):
        cache[row, word] = np.uint64(0)
    for index in range(count):
        half = index + 7
        shift = _FOLD if half & 1 else np.uint64(0)
        cache[row, half >> 1] |= np.uint64(np.uint32(ids[start + index])) << shift
