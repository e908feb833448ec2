"""Compiled loops over the words of a batch: normal form, hashes of words and of n-grams, MinHash signatures."""

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Float64s, Int64s, UInt32s, UInt64s
from clozekit.tokenizers.kernels.unicode_tables import LETTER, NONSPACING_MARK, NUMBER, SPACE
from clozekit.tokenizers.kernels.utf8 import decode_at, encode_at

_WORD = LETTER | NUMBER | NONSPACING_MARK
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_NO_VALUE = np.uint64(0xFFFFFFFFFFFFFFFF)


@inline
def _mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@inline
def _is_own_word(code_point: int) -> bool:
    """Scripts without spaces between words: there a character counts as a word."""
    return (
        0x0E00 <= code_point < 0x0F00  # Thai, Lao
        or 0x1000 <= code_point < 0x10A0  # Burmese
        or 0x1780 <= code_point < 0x1800  # Khmer
        or 0x3040 <= code_point < 0x3100  # kana
        or 0x3400 <= code_point < 0xA000  # Han
        or 0xF900 <= code_point < 0xFB00
        or 0x20000 <= code_point < 0x32400
    )


@compile_kernel
def fold_texts(
    data: Bytes, offsets: Int64s, properties: Bytes, lower: Int64s, folded: Bytes, folded_offsets: Int64s
) -> None:
    """Lower-cases each text into `folded`, a run of white space as one space, none at its ends; sets folded_offsets."""
    position_out = np.int64(0)
    for text in range(len(offsets) - 1):
        position, end = offsets[text], offsets[text + 1]
        begin = position_out
        gap = False
        while position < end:
            # The short way for ASCII makes this four times as fast.
            if data[position] < 0x80:
                code_point = int(data[position])
                position += 1
            else:
                code_point, size = decode_at(data, position, end)
                position += size
            if properties[code_point] & SPACE:
                gap = bool(position_out > begin)
                continue
            if gap:
                folded[position_out] = 32
                position_out += 1
                gap = False
            small = lower[code_point]
            if small < 0x80:
                folded[position_out] = small
                position_out += 1
            else:
                position_out = encode_at(folded, position_out, small)
        folded_offsets[text + 1] = position_out


@compile_kernel
def hash_words(data: Bytes, offsets: Int64s, properties: Bytes, hashes: UInt64s, counts: Int64s) -> np.int64:
    """Fills `hashes` with the hash of each word (a run of letters, marks and digits) and `counts` with words a text."""
    num_words = np.int64(0)
    for text in range(len(offsets) - 1):
        position, end = offsets[text], offsets[text + 1]
        first = num_words
        value = np.uint64(0)
        is_open = False
        while position < end:
            alone = False
            if data[position] < 0x80:
                code_point = int(data[position])
                position += 1
                in_word = properties[code_point] & _WORD != 0
            else:
                code_point, size = decode_at(data, position, end)
                position += size
                in_word = properties[code_point] & _WORD != 0
                alone = in_word and _is_own_word(code_point)
            if is_open and (alone or not in_word):
                hashes[num_words] = _mix(value)
                num_words += 1
                is_open = False
            if in_word:
                if not is_open:
                    value = _FACTOR
                value = (value ^ np.uint64(code_point)) * _FIRST
                value ^= value >> _32
                is_open = True
                if alone:
                    hashes[num_words] = _mix(value)
                    num_words += 1
                    is_open = False
        if is_open:
            hashes[num_words] = _mix(value)
            num_words += 1
        counts[text] = num_words - first
    return num_words


@compile_kernel
def hash_ngrams(
    words: UInt64s, counts: Int64s, size: int, shortest: int, hashes: UInt64s, ngram_counts: Int64s
) -> np.int64:
    """Hashes of the runs of `size` words of each text; a text of `shortest` to `size` - 1 words has one of all of them."""
    num_ngrams = np.int64(0)
    begin = np.int64(0)
    for text in range(len(counts)):
        length = counts[text]
        first = num_ngrams
        width = min(size, length)
        if length >= size or length >= shortest:
            for start in range(begin, begin + length - width + 1):
                value = np.uint64(width)
                for word in range(start, start + width):
                    value = value * _FACTOR + words[word]
                hashes[num_ngrams] = _mix(value)
                num_ngrams += 1
        ngram_counts[text] = num_ngrams - first
        begin += length
    return num_ngrams


@compile_kernel
def minhash_bands(
    ngrams: UInt64s, counts: Int64s, factors: UInt64s, shifts: UInt64s, rows_per_band: int, bands: UInt64s
) -> None:
    """Fills bands (num_texts, num_bands): a hash of the smallest values that `rows_per_band` permutations of the n-grams
    give. Permutation i of h is the upper half of factors[i] * h + shifts[i], 64 bits wide."""
    num_permutations = len(factors)
    smallest = np.empty(num_permutations, np.uint64)
    begin = np.int64(0)
    for text in range(len(counts)):
        smallest[:] = _NO_VALUE
        for ngram in range(begin, begin + counts[text]):
            value = ngrams[ngram]
            for index in range(num_permutations):
                smallest[index] = min(smallest[index], (factors[index] * value + shifts[index]) >> _32)
        begin += counts[text]
        for band in range(bands.shape[1]):
            value = np.uint64(band + 1)
            for index in range(band * rows_per_band, (band + 1) * rows_per_band):
                value = _mix(value * _FACTOR + smallest[index])
            bands[text, band] = value


@compile_kernel
def make_sets(values: UInt32s, lengths: Int64s, sizes: Int64s) -> np.int64:
    """Sorts each list of `values` and leaves out what stands twice, in place; fills `sizes`, returns how many are left."""
    begin = np.int64(0)
    used = np.int64(0)
    for row in range(len(lengths)):
        part = np.sort(values[begin : begin + lengths[row]])
        begin += lengths[row]
        first = used
        for index in range(len(part)):
            if index == 0 or part[index] != part[index - 1]:
                values[used] = part[index]
                used += 1
        sizes[row] = used - first
    return used


@compile_kernel
def jaccard_similarities(
    values: UInt32s, begins: Int64s, sizes: Int64s, left: Int64s, right: Int64s, result: Float64s
) -> None:
    """Fills `result` with the Jaccard similarity of the sorted sets `left` and `right` of each pair."""
    for pair in range(len(left)):
        one, other = begins[left[pair]], begins[right[pair]]
        end, other_end = one + sizes[left[pair]], other + sizes[right[pair]]
        shared = np.int64(0)
        while one < end and other < other_end:
            difference = np.int64(values[one]) - np.int64(values[other])
            shared += difference == 0
            one += difference <= 0
            other += difference >= 0
        together = sizes[left[pair]] + sizes[right[pair]] - shared
        result[pair] = shared / together if together else 0.0
