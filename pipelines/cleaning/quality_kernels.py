"""Compiled measures of texts: words, lines and their repetition, a row of numbers a text."""

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Float64s, Int64s, UInt64s
from clozekit.tokenizers.kernels.unicode_tables import LETTER, SPACE
from clozekit.tokenizers.kernels.utf8 import decode_at

(
    CHARACTERS, WORDS, WORD_CHARACTERS, SYMBOLS, ALPHABETIC_WORDS, STOP_WORDS, LINES, BULLET_LINES, ELLIPSIS_LINES,
    SENTENCE_LINES, SENTENCES, BRACES, REPEATED_LINES, LINE_CHARACTERS, REPEATED_LINE_CHARACTERS, PARAGRAPHS,
    REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS,
) = range(18)  # fmt: skip
NUM_MEASURES = 18

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_29 = np.uint64(29)
_ELLIPSIS = 0x2026
# the, be, to, of, and, that, have, with: the stop words of Rae et al. 2021 (arXiv 2112.11446, table A1), as the little-
# endian bytes of their lower case.
_STOP_WORDS = np.array(
    [int.from_bytes(word, "little") for word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")]
)
_BULLETS = np.array([ord(character) for character in "•‣▶◀◦■□▪▫–-*●"])
_STOPS = np.array([ord(character) for character in ".!?。！？"])
_ENDS = np.array([ord(character) for character in '.!?"”。！？'])


@inline
def _contains(values: Int64s, value: int) -> bool:
    for index in range(len(values)):  # noqa: SIM110 (Numba)
        if values[index] == value:
            return True
    return False


@inline
def _repeated(hashes: UInt64s, lengths: Int64s) -> tuple[int, int]:
    """How many of the hashes stood before, and the sum of their lengths."""
    number, length = 0, 0
    order = np.argsort(hashes)
    for place in range(1, len(hashes)):
        if hashes[order[place]] == hashes[order[place - 1]]:
            number += 1
            length += lengths[order[place]]
    return number, length


@compile_kernel
def measure_texts(data: Bytes, offsets: Int64s, properties: Bytes, measures: Float64s) -> None:
    """Fills measures (num_texts, NUM_MEASURES) with counts; a word is what stands between white space, a paragraph what
    stands between blank lines. Lines and paragraphs are compared by their visible characters."""
    for text in range(len(offsets) - 1):
        position, end = offsets[text], offsets[text + 1]
        num_lines = 1
        for byte in range(position, end):
            num_lines += data[byte] == 10
        line_hashes, line_lengths = np.empty(num_lines, np.uint64), np.empty(num_lines, np.int64)
        paragraph_hashes, paragraph_lengths = np.empty(num_lines, np.uint64), np.empty(num_lines, np.int64)
        counted = measures[text]
        counted[:] = 0
        seen_stops = 0
        # Of the word and of the line that stand open:
        packed, length, has_letter = 0, 0, False
        value, first, last, before, dots, line_length = _FACTOR, 0, 0, 0, 0, 0
        # Of the paragraph:
        paragraph, paragraph_length = _FACTOR, 0
        lines, paragraphs = 0, 0
        while True:
            at_end = position >= end
            code_point, size = 10, 1
            if not at_end:
                if data[position] < 0x80:
                    code_point = int(data[position])
                else:
                    code_point, size = decode_at(data, position, end)
                counted[CHARACTERS] += 1
            position += size
            if properties[code_point] & SPACE:
                if length:
                    counted[WORDS] += 1
                    counted[WORD_CHARACTERS] += length
                    counted[ALPHABETIC_WORDS] += has_letter
                    if length <= 4:
                        for index in range(len(_STOP_WORDS)):
                            if packed == _STOP_WORDS[index]:
                                seen_stops |= 1 << index
                    if _contains(_STOPS, last) or (_contains(_ENDS, last) and _contains(_STOPS, before)):
                        counted[SENTENCES] += 1
                packed, length, has_letter = 0, 0, False
                if paragraph_length and (at_end or (code_point == 10 and not line_length)):
                    counted[PARAGRAPHS] += 1
                    paragraph_hashes[paragraphs], paragraph_lengths[paragraphs] = paragraph, paragraph_length
                    paragraphs += 1
                    paragraph, paragraph_length = _FACTOR, 0
                if code_point == 10 and line_length:
                    counted[LINES] += 1
                    counted[BULLET_LINES] += _contains(_BULLETS, first)
                    counted[ELLIPSIS_LINES] += dots >= 3 or last == _ELLIPSIS
                    counted[SENTENCE_LINES] += _contains(_ENDS, last)
                    counted[LINE_CHARACTERS] += line_length
                    line_hashes[lines], line_lengths[lines] = value, line_length
                    lines += 1
                    value, first, last, before, dots, line_length = _FACTOR, 0, 0, 0, 0, 0
            else:
                if length < 4:
                    lowered = code_point | 0x20 if 0x41 <= code_point <= 0x5A else code_point
                    packed |= (lowered & 0xFF) << 8 * length
                length += 1
                has_letter = has_letter or properties[code_point] & LETTER != 0
                first = code_point if line_length == 0 else first
                before = last
                last = code_point
                dots = dots + 1 if code_point == 46 else 0
                counted[SYMBOLS] += code_point == 35 or code_point == _ELLIPSIS or dots == 3
                counted[BRACES] += code_point == 123
                line_length += 1
                value = (value ^ np.uint64(code_point)) * _FACTOR
                value ^= value >> _29
                paragraph_length += 1
                paragraph = (paragraph ^ np.uint64(code_point)) * _FACTOR
                paragraph ^= paragraph >> _29
            if at_end:
                break
        for index in range(len(_STOP_WORDS)):
            counted[STOP_WORDS] += seen_stops >> index & 1
        number, length = _repeated(line_hashes[:lines], line_lengths)
        counted[REPEATED_LINES], counted[REPEATED_LINE_CHARACTERS] = number, length
        number, length = _repeated(paragraph_hashes[:paragraphs], paragraph_lengths)
        counted[REPEATED_PARAGRAPHS], counted[REPEATED_PARAGRAPH_CHARACTERS] = number, length


@compile_kernel
def measure_ngrams(
    words: UInt64s, lengths: Int64s, counts: Int64s, sizes: Int64s, first_repeated: int, rates: Float64s
) -> None:
    """Fills rates (num_texts, len(sizes)), shares of the characters in words. For the sizes before index
    `first_repeated`: of the n-gram that takes most of them; from there on: of all n-grams that occur more than once."""
    begin = np.int64(0)
    for text in range(len(counts)):
        count = counts[text]
        total = 0
        for word in range(begin, begin + count):
            total += lengths[word]
        for column in range(len(sizes)):
            size = sizes[column]
            rates[text, column] = 0.0
            if count < size:
                continue
            hashes = np.empty(count - size + 1, np.uint64)
            for start in range(len(hashes)):
                value = np.uint64(size)
                for word in range(begin + start, begin + start + size):
                    value = (value + words[word]) * _FACTOR
                    value ^= value >> _29
                hashes[start] = value
            order = np.argsort(hashes)
            taken = 0
            covered = np.zeros(count, np.uint8)
            run = 1
            for place in range(1, len(hashes)):
                start, previous = order[place], order[place - 1]
                if hashes[start] != hashes[previous]:
                    run = 1
                    continue
                run += 1
                if column < first_repeated:
                    characters = 0
                    for word in range(begin + start, begin + start + size):
                        characters += lengths[word]
                    taken = max(taken, run * characters)
                else:
                    covered[start : start + size] = 1
                    covered[previous : previous + size] = 1
            if column >= first_repeated:
                for word in range(count):
                    taken += covered[word] * lengths[begin + word]
            rates[text, column] = min(1.0, taken / max(1, total))
        begin += count


@compile_kernel
def split_words(
    data: Bytes, offsets: Int64s, properties: Bytes, hashes: UInt64s, lengths: Int64s, counts: Int64s
) -> np.int64:
    """Fills hashes and lengths (characters) of the words between white space, and words a text; how many there are."""
    num_words = np.int64(0)
    for text in range(len(offsets) - 1):
        position, end = offsets[text], offsets[text + 1]
        first = num_words
        value, length = _FACTOR, 0
        while position < end:
            code_point, size = decode_at(data, position, end)
            position += size
            if properties[code_point] & SPACE == 0:
                value = (value ^ np.uint64(code_point)) * _FACTOR
                value ^= value >> _29
                length += 1
            if length and (properties[code_point] & SPACE or position >= end):
                hashes[num_words], lengths[num_words] = value, length
                num_words += 1
                value, length = _FACTOR, 0
        counts[text] = num_words - first
    return num_words
