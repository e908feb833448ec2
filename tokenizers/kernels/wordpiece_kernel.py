"""WordPiece over UTF-8 bytes: words are looked up whole; a word not seen lately is normalised and matched.

A chunk is a longest run of bytes without ASCII spaces and punctuation. Its ids depend on its bytes alone, except
those of a capital sigma, whose lower case looks at its neighbours; so a chunk without one may be remembered.
"""

import numpy as np

from clozekit.tokenizers.kernels.bert_tables import (
    CJK,
    FINAL_SIGMA,
    MARK,
    MARK_STARTER,
    PUNCT,
    REMOVED,
    REORDER,
    SIGMA,
    SMALL_SIGMA,
    SPLIT,
)
from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int32s, Int64s, Integer, UInt64s
from clozekit.tokenizers.kernels.trie import NO_STATE, VALUE, child
from clozekit.tokenizers.kernels.unicode_tables import CASE_IGNORABLE, CASED
from clozekit.tokenizers.kernels.utf8 import decode_at, encode_at, previous_start
from clozekit.tokenizers.kernels.word_cache import (
    MAX_WORD_BYTES,
    MAX_WORD_IDS,
    cache_row,
    cached_count,
    cached_id,
    remember,
    word_key,
)

# Classes of a byte. Bytes of the classes from PLAIN on form chunks; only those of PLAIN alone need no normalisation
# beyond the case of ASCII letters.
SPACE_BYTE, PUNCT_BYTE, PLAIN, OTHER = 0, 1, 2, 6
MAX_WORD_CHARACTERS = 100
# 101 characters, the last an expansion of up to 18.
WORD_BUFFER_BYTES = 1024


@compile_kernel
def encode_wordpiece(
    data: Bytes, offsets: Int64s, byte_class: Bytes, byte_lower: Bytes, byte_ids: Int32s, kinds: Bytes, expansion: Int32s,
    expanded: Int32s, properties: Bytes, combining: Bytes, units: Int32s, suffix_state: int, unknown_id: int, cache: UInt64s,
    token_ids: Int32s, row_lengths: Int64s,
) -> int:  # fmt: skip
    """Fills `token_ids` and `row_lengths`; the number of ids. A text has at most as many ids as bytes."""
    word = np.empty(WORD_BUFFER_BYTES, np.uint8)
    same_byte = np.arange(256).astype(np.uint8)
    num_ids = 0
    for text in range(len(offsets) - 1):
        first_of_text = num_ids
        position = offsets[text]
        end = offsets[text + 1]
        while position < end:
            found = byte_class[data[position]]
            if found == SPACE_BYTE:
                position += 1
                continue
            if found == PUNCT_BYTE:
                token_ids[num_ids] = byte_ids[data[position]]
                num_ids += 1
                position += 1
                continue
            start = position
            seen = found
            position += 1
            while position < end:
                found = byte_class[data[position]]
                if found < PLAIN:
                    break
                seen |= found
                position += 1
            length = position - start
            if length > MAX_WORD_BYTES:
                if seen == PLAIN:
                    num_ids = _match(
                        data, start, position, length, byte_lower, units, suffix_state, unknown_id, token_ids, num_ids
                    )
                else:
                    num_ids, _ = _encode_mixed(
                        data, offsets[text], end, start, position, kinds, expansion, expanded, properties, combining, units,
                        suffix_state, unknown_id, same_byte, word, token_ids, num_ids,
                    )  # fmt: skip
                continue
            low, middle, high = word_key(data, start, length)
            row = cache_row(cache, low, middle, high)
            count = cached_count(cache, row, low, middle, high, length)
            if count >= 0:
                for index in range(count):
                    token_ids[num_ids + index] = cached_id(cache, row, index)
                num_ids += count
                continue
            before = num_ids
            repeatable = True
            if seen == PLAIN:
                num_ids = _match(
                    data, start, position, length, byte_lower, units, suffix_state, unknown_id, token_ids, num_ids
                )
            else:
                num_ids, repeatable = _encode_mixed(
                    data, offsets[text], end, start, position, kinds, expansion, expanded, properties, combining, units,
                    suffix_state, unknown_id, same_byte, word, token_ids, num_ids,
                )  # fmt: skip
            if repeatable and num_ids - before <= MAX_WORD_IDS:
                remember(cache, row, low, middle, high, length, token_ids, before, num_ids - before)
        row_lengths[text] = num_ids - first_of_text
    return num_ids


@inline
def _match(
    buffer: Bytes, start: int, end: int, num_characters: int, byte_map: Bytes, units: Int32s, suffix_state: int,
    unknown_id: int, token_ids: Int32s, num_ids: int,
) -> int:  # fmt: skip
    """Greedy longest-match-first pieces of one normalised word; the new number of ids."""
    if num_characters > MAX_WORD_CHARACTERS:
        token_ids[num_ids] = unknown_id
        return num_ids + 1
    first = num_ids
    position = start
    state: Integer = np.int64(0)
    while position < end:
        best = np.int32(-1)
        best_end = position
        index = position
        while index < end and state != NO_STATE:
            state = child(units, state, byte_map[buffer[index]])
            if state == NO_STATE:
                break
            index += 1
            value = units[state, VALUE]
            if value >= 0:
                best = value
                best_end = index
        if best < 0:
            token_ids[first] = unknown_id
            return first + 1
        token_ids[num_ids] = best
        num_ids += 1
        position = best_end
        state = suffix_state
    return num_ids


@inline
def _encode_mixed(
    data: Bytes, text_start: int, text_end: int, start: int, end: int, kinds: Bytes, expansion: Int32s, expanded: Int32s,
    properties: Bytes, combining: Bytes, units: Int32s, suffix_state: int, unknown_id: int, same_byte: Bytes, word: Bytes,
    token_ids: Int32s, num_ids: int,
) -> tuple[int, bool]:  # fmt: skip
    """Ids of a chunk by the full normalisation: (new number of ids, whether its bytes alone decided them)."""
    repeatable = True
    size = 0
    num_characters = 0
    # Where, in `word`, the characters after the last starter begin: canonical order sorts them.
    run_start = 0
    single = np.empty(1, np.int32)
    position = start
    while position < end:
        code_point, length = decode_at(data, position, end)
        kind = kinds[code_point]
        if kind in (REMOVED, MARK):
            position += length
            continue
        if kind == MARK_STARTER:
            run_start = size
            position += length
            continue
        if kind in (SPLIT, CJK):
            if size > 0:
                num_ids = _match(
                    word, 0, size, num_characters, same_byte, units, suffix_state, unknown_id, token_ids, num_ids
                )
            size = 0
            num_characters = 0
            run_start = 0
            if kind == SPLIT:
                position += length
                continue
        place = expansion[code_point]
        points = expanded
        num_points = 1
        if kind == SIGMA:
            repeatable = False
            final = _is_final_sigma(data, text_start, text_end, position, kinds, properties)
            single[0] = FINAL_SIGMA if final else SMALL_SIGMA
            points = single
            place = 0
        elif place > 0:
            num_points = expanded[place]
            place += 1
        else:
            single[0] = code_point
            points = single
        position += length
        for index in range(place, place + num_points):
            point = np.int64(points[index])
            point_kind = kinds[point]
            if point_kind == PUNCT:
                if size > 0:
                    num_ids = _match(
                        word, 0, size, num_characters, same_byte, units, suffix_state, unknown_id, token_ids, num_ids
                    )
                size = encode_at(word, 0, point)
                num_ids = _match(word, 0, size, 1, same_byte, units, suffix_state, unknown_id, token_ids, num_ids)
                size = 0
                num_characters = 0
                run_start = 0
                continue
            num_characters += 1
            if num_characters > MAX_WORD_CHARACTERS:
                # Unknown whatever follows.
                continue
            after = encode_at(word, size, point)
            if point_kind == REORDER:
                _sort_in(word, run_start, size, after, combining)
            else:
                run_start = after
            size = after
        if kind == CJK:
            num_ids = _match(
                word, 0, size, num_characters, same_byte, units, suffix_state, unknown_id, token_ids, num_ids
            )
            size = 0
            num_characters = 0
            run_start = 0
    if size > 0:
        num_ids = _match(word, 0, size, num_characters, same_byte, units, suffix_state, unknown_id, token_ids, num_ids)
    return num_ids, repeatable


@inline
def _sort_in(word: Bytes, run_start: int, last_start: int, last_end: int, combining: Bytes) -> None:
    """Moves the last character of `word` before those of its run with a larger combining class."""
    code_point, length = decode_at(word, last_start, last_end)
    own_class = combining[code_point]
    place = last_start
    while place > run_start:
        before = previous_start(word, place)
        neighbour, _ = decode_at(word, before, place)
        if combining[neighbour] <= own_class:
            break
        place = before
    for index in range(last_start - 1, place - 1, -1):
        word[index + length] = word[index]
    encode_at(word, place, code_point)


@inline
def _is_final_sigma(
    data: Bytes, text_start: int, text_end: int, position: int, kinds: Bytes, properties: Bytes
) -> bool:
    """Python's `str.lower`: final if a cased letter stands before and none after, over case-ignorable characters."""
    before = position
    found = False
    while before > text_start:
        before = previous_start(data, before)
        code_point, _ = decode_at(data, before, text_end)
        if kinds[code_point] == REMOVED or properties[code_point] & CASE_IGNORABLE:
            continue
        found = properties[code_point] & CASED != 0
        break
    if not found:
        return False
    after = position + 2
    while after < text_end:
        code_point, length = decode_at(data, after, text_end)
        after += length
        if kinds[code_point] == REMOVED or properties[code_point] & CASE_IGNORABLE:
            continue
        return properties[code_point] & CASED == 0
    return True
