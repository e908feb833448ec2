"""SentencePiece Unigram over UTF-8 bytes: normalise, find the best path of pieces, remember words.

SentencePiece finds one best path over a whole text and adds its scores in float32, so what went before a word decides
how its sums round, and with them which of two nearly equal paths wins. Where no piece goes across a word's start, the
path is still found word by word: each word starts from the sum so far. A word is remembered only if its best path wins
by more than all roundings together, whatever the sum; the best path of any other is searched at each of its places.
"""

import numpy as np

from clozekit.tokenizers.kernels.charsmap import next_unit
from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Flags, Float32s, Float64s, Int32s, Int64s, UInt32s, UInt64s
from clozekit.tokenizers.kernels.trie import NO_STATE, VALUE, child
from clozekit.tokenizers.kernels.word_cache import (
    MAX_WORD_BYTES,
    MAX_WORD_IDS,
    cache_row,
    cached_count,
    cached_id,
    remember,
    word_key,
)

# U+2581 stands for a space in pieces.
_SPACE = (0xE2, 0x96, 0x81)
_FIRST, _SECOND, _THIRD = _SPACE
# Longer words are not remembered.
MAX_REMEMBERED_BYTES = 48
# A float32 sum between -131,072 and 0 is rounded by at most this.
LARGEST_SUM = 131072
_ROUNDING = 2.0**-8
# Where the sum falls below it, sentencepiece 0.2.3 counts from zero again (seen from outside: its choices between
# nearly equal pieces repeat with that period).
RESTART = np.float32(-100000)
_IMPOSSIBLE = -1e300


@compile_kernel
def encode_sentence_pieces(
    data: Bytes, offsets: Int64s, first_text: int, num_ids: int, is_delimiter: Flags, plain: Bytes, word_by_word: bool,
    whole_words: bool, settings: Flags, rules: UInt32s, replacements: Bytes, symbols: Int32s, units: Int32s, scores: Float64s,
    unknown_score: np.float32, certain_above: float, unknown_id: int, final_ids: Int32s, byte_ids: Int32s, cache: UInt64s,
    token_ids: Int32s, row_lengths: Int64s,
) -> tuple[int, int]:  # fmt: skip
    """Fills `token_ids` from `num_ids` on and `row_lengths` from `first_text` on.

    (ids, next text): stops before a text whose ids do not fit. settings: bool (4,), whether to add a dummy prefix, to
    remove extra white space, to escape it, to treat it as a suffix. plain: uint8 (256,), what the normaliser makes of an
    ASCII character that no non-ASCII one follows, or 0 where that is no single visible character. byte_ids: int32 (256,), or (0,) without fallback.
    """
    text_buffer = np.empty(1024, np.uint8)
    starts = np.empty(1024, np.int32)
    best = np.empty(1024, np.float32)
    pieces = np.empty(1024, np.int32)
    word_ids = np.empty(MAX_WORD_IDS, np.int32)
    first_best = np.empty(MAX_REMEMBERED_BYTES + 1, np.float64)
    second_best = np.empty(MAX_REMEMBERED_BYTES + 1, np.float64)
    for text in range(first_text, len(offsets) - 1):
        first_of_text = num_ids
        position = offsets[text]
        end = offsets[text + 1]
        total = np.float32(0)
        unknown_before = False
        whole_text = not word_by_word
        while position < end and not whole_text:
            position, num_ids, total, used = _remembered_words(
                data, position, end, is_delimiter, scores, certain_above, final_ids, cache, total, token_ids, num_ids
            )
            unknown_before = unknown_before and not used
            start = position
            while position < end and not is_delimiter[data[position]]:
                position += 1
            length = position - start
            if length == 0:
                continue
            # A replacement is at most 255 bytes and a space three: room for any unit of the text.
            needed = 3 * length + 1024
            if needed > len(text_buffer):
                text_buffer = np.empty(2 * needed, np.uint8)
            size, text_buffer = _normalise(
                data, start, position, True, True, True, False, plain, rules, replacements, symbols, text_buffer
            )
            if size + 2 > len(starts):
                starts = np.empty(2 * size, np.int32)
                best = np.empty(2 * size, np.float32)
                pieces = np.empty(2 * size, np.int32)
            word = 0
            num_words = 0
            before = num_ids
            while word < size:
                word_end = word + 3
                while word_end < size and not _is_space(text_buffer, word_end, size):
                    word_end += 1
                num_ids, total, unknown_before = _best_path(
                    text_buffer, word, word_end, whole_words, units, scores, unknown_score, unknown_id, final_ids,
                    byte_ids, total, unknown_before, starts, best, pieces, token_ids, num_ids,
                )  # fmt: skip
                if num_ids < 0:
                    return first_of_text, text
                word = word_end
                num_words += 1
            # A U+2581 of the text itself is no space to the normaliser, but starts a word.
            for index in range(start, position - 2):
                if data[index] == _FIRST and data[index + 1] == _SECOND and data[index + 2] == _THIRD:
                    whole_text = True
            count = num_ids - before
            short = length <= MAX_WORD_BYTES and size <= MAX_REMEMBERED_BYTES and count <= MAX_WORD_IDS
            found = short and num_words == 1 and total > certain_above
            if found and _collect(size, starts, pieces, unknown_id, word_ids) == count:
                margin = _margin(text_buffer, size, units, scores, unknown_score, first_best, second_best)
                if margin > 2 * count * _ROUNDING + 1e-6:
                    low, middle, high = word_key(data, start, length)
                    row = cache_row(cache, low, middle, high)
                    remember(cache, row, low, middle, high, length, word_ids, 0, count)
        if whole_text:
            num_ids = first_of_text
            total = np.float32(0)
            length = end - offsets[text]
            if 3 * length + 1024 > len(text_buffer):
                text_buffer = np.empty(6 * length + 2048, np.uint8)
            size, text_buffer = _normalise(
                data, offsets[text], end, settings[0], settings[1], settings[2], settings[3], plain, rules,
                replacements, symbols, text_buffer,
            )  # fmt: skip
            if size + 2 > len(starts):
                starts = np.empty(2 * size, np.int32)
                best = np.empty(2 * size, np.float32)
                pieces = np.empty(2 * size, np.int32)
            word = 0
            unknown_before = False
            while word < size:
                word_end = size
                if whole_words:
                    word_end = word + 1
                    while word_end < size and not _is_space(text_buffer, word_end, size):
                        word_end += 1
                num_ids, total, unknown_before = _best_path(
                    text_buffer, word, word_end, whole_words, units, scores, unknown_score, unknown_id, final_ids,
                    byte_ids, np.float32(0), unknown_before, starts, best, pieces, token_ids, num_ids,
                )  # fmt: skip
                if num_ids < 0:
                    return first_of_text, text
                word = word_end
        row_lengths[text] = num_ids - first_of_text
    return num_ids, len(offsets) - 1


@inline
def _remembered_words(
    data: Bytes, position: int, end: int, is_delimiter: Flags, scores: Float64s, certain_above: float, final_ids: Int32s,
    cache: UInt64s, total: np.float32, token_ids: Int32s, num_ids: int,
) -> tuple[int, int, np.float32, bool]:  # fmt: skip
    """Ids of the words from `position` on as long as they are in the cache: (start of the first that is not, number of
    ids, sum, whether there were any).

    A loop of its own, without arrays that change: it runs three times faster than inside the loop that has them.
    """
    used = False
    while position < end:
        if is_delimiter[data[position]]:
            position += 1
            continue
        start = position
        position += 1
        while position < end and not is_delimiter[data[position]]:
            position += 1
        length = position - start
        # Close to the restart of the sum, it is the exact path that knows where it is.
        if length > MAX_WORD_BYTES or total <= certain_above:
            return start, num_ids, total, used
        low, middle, high = word_key(data, start, length)
        row = cache_row(cache, low, middle, high)
        count = cached_count(cache, row, low, middle, high, length)
        if count < 0 or num_ids + count > len(token_ids):
            return start, num_ids, total, used
        for index in range(count):
            piece = cached_id(cache, row, index)
            token_ids[num_ids + index] = final_ids[piece]
            total = np.float32(scores[piece] + np.float64(total))
        num_ids += count
        used = True
    return position, num_ids, total, used


@inline
def _is_space(buffer: Bytes, position: int, size: int) -> bool:
    return (
        buffer[position] == _FIRST
        and position + 2 < size
        and buffer[position + 1] == _SECOND
        and buffer[position + 2] == _THIRD
    )


@inline
def _normalise(
    data: Bytes, start: int, end: int, prefix: bool, remove_extra: bool, escape: bool, suffix: bool, plain: Bytes,
    rules: UInt32s, replacements: Bytes, symbols: Int32s, buffer: Bytes,
) -> tuple[int, Bytes]:  # fmt: skip
    """SentencePiece's Normalizer::Normalize into `buffer`, which grows when it must: (size, buffer)."""
    position = start
    if remove_extra:
        # Leading units that are one space.
        while position < end:
            length, place = next_unit(data, position, end, rules, symbols)
            if place >= 0:
                if replacements[place] != 0x20 or replacements[place + 1] != 0:
                    break
            elif place == -2 or length != 1 or data[position] != 0x20:
                break
            position += length
    if position >= end:
        return 0, buffer
    size = 0
    if prefix and not suffix:
        size = _add_space(buffer, size, escape)
    space_before = remove_extra
    while position < end:
        replaced = plain[data[position]]
        if replaced != 0 and (position + 1 == end or data[position + 1] < 0x80):
            # No rule but that of the character itself can match.
            if size + 16 > len(buffer):
                larger = np.empty(2 * len(buffer), np.uint8)
                larger[:size] = buffer[:size]
                buffer = larger
            buffer[size] = replaced
            size += 1
            position += 1
            space_before = False
            continue
        length, place = next_unit(data, position, end, rules, symbols)
        source = data
        source_position = position
        source_end = position + length
        if place >= 0:
            source = replacements
            source_position = place
            source_end = place
            while replacements[source_end] != 0:
                source_end += 1
        if size + 3 * (source_end - source_position) + 16 > len(buffer):
            larger = np.empty(2 * len(buffer) + 3 * (source_end - source_position) + 16, np.uint8)
            larger[:size] = buffer[:size]
            buffer = larger
        if place == -2:
            buffer[size] = 0xEF
            buffer[size + 1] = 0xBF
            buffer[size + 2] = 0xBD
            size += 3
            space_before = False
        else:
            while space_before and source_position < source_end and source[source_position] == 0x20:
                source_position += 1
            if source_position < source_end:
                for index in range(source_position, source_end):
                    if source[index] == 0x20:
                        size = _add_space(buffer, size, escape)
                    else:
                        buffer[size] = source[index]
                        size += 1
                space_before = source[source_end - 1] == 0x20
        position += length
        if not remove_extra:
            space_before = False
    if remove_extra:
        if escape:
            while size >= 3 and _is_space(buffer, size - 3, size):
                size -= 3
        else:
            while size >= 1 and buffer[size - 1] == 0x20:
                size -= 1
    if prefix and suffix:
        size = _add_space(buffer, size, escape)
    return size, buffer


@inline
def _add_space(buffer: Bytes, size: int, escape: bool) -> int:
    if not escape:
        buffer[size] = 0x20
        return size + 1
    buffer[size] = _FIRST
    buffer[size + 1] = _SECOND
    buffer[size + 2] = _THIRD
    return size + 3


@inline
def _character_bytes(byte: np.uint8) -> int:
    """Length of a character by its first byte, as SentencePiece's OneCharLen."""
    if byte < 0xC0:
        return 1
    if byte < 0xE0:
        return 2
    if byte < 0xF0:
        return 3
    return 4


@inline
def _best_path(
    buffer: Bytes, start: int, end: int, whole_words: bool, units: Int32s, scores: Float64s, unknown_score: np.float32,
    unknown_id: int, final_ids: Int32s, byte_ids: Int32s, total: np.float32, unknown_before: bool, starts: Int32s, best: Float32s,
    pieces: Int32s, token_ids: Int32s, num_ids: int,
) -> tuple[int, np.float32, bool]:  # fmt: skip
    """SentencePiece's EncodeOptimized from the sum `total` on, float32 for float32, ties included.

    (new number of ids, or -1 if they don't fit; new sum; whether the last piece is unknown). Runs of unknown pieces
    are one, or bytes with byte fallback.
    """
    size = end - start
    for index in range(size + 1):
        starts[index] = -1
    best[0] = total
    if whole_words:
        state = np.int64(0)
        index = start
        while index < end and state != NO_STATE:
            state = child(units, state, buffer[index])
            index += 1
        starts[size] = 0
        pieces[size] = units[state, VALUE] if state != NO_STATE and units[state, VALUE] >= 0 else unknown_id
        best[size] = total
    else:
        position = 0
        while position < size:
            so_far = best[position]
            if so_far < RESTART:
                for index in range(position + 1, size + 1):
                    if starts[index] != -1:
                        best[index] -= so_far
                so_far = np.float32(0)
            length = min(_character_bytes(buffer[start + position]), size - position)
            single = False
            state = np.int64(0)
            index = position
            while index < size:
                state = child(units, state, buffer[start + index])
                if state == NO_STATE:
                    break
                index += 1
                piece = units[state, VALUE]
                if piece >= 0:
                    score = np.float32(scores[piece] + np.float64(so_far))
                    if starts[index] == -1 or score > best[index]:
                        best[index] = score
                        starts[index] = position
                        pieces[index] = piece
                    if index - position == length:
                        single = True
            if not single:
                index = position + length
                unknown = np.float32(unknown_score + so_far)
                if starts[index] == -1 or unknown > best[index]:
                    best[index] = unknown
                    starts[index] = position
                    pieces[index] = unknown_id
            position += length
    total = best[size]
    # From the last piece back; turned round at the end.
    first = num_ids
    index = size
    while index > 0:
        needed = np.int64(index - starts[index]) if len(byte_ids) > 0 else 1
        if num_ids + needed > len(token_ids):
            return -1, total, unknown_before
        before = starts[index]
        if pieces[index] != unknown_id:
            token_ids[num_ids] = final_ids[pieces[index]]
            num_ids += 1
        elif len(byte_ids) > 0:
            for byte in range(index - 1, before - 1, -1):
                token_ids[num_ids] = byte_ids[buffer[start + byte]]
                num_ids += 1
        elif (before > 0 and pieces[before] == unknown_id) or (before == 0 and unknown_before):
            pass
        else:
            token_ids[num_ids] = final_ids[unknown_id]
            num_ids += 1
        index = before
    last = num_ids - 1
    while first < last:
        swapped = token_ids[first]
        token_ids[first] = token_ids[last]
        token_ids[last] = swapped
        first += 1
        last -= 1
    return num_ids, total, pieces[size] == unknown_id and len(byte_ids) == 0


@inline
def _collect(size: int, starts: Int32s, pieces: Int32s, unknown_id: int, word_ids: Int32s) -> int:
    """Copies the path that `_best_path` left, in order; how many pieces, or -1 for too many or unknown ones."""
    count = 0
    index = np.int64(size)
    while index > 0:
        count += 1
        if pieces[index] == unknown_id or count > MAX_WORD_IDS:
            return -1
        index = np.int64(starts[index])
    index = np.int64(size)
    for place in range(count - 1, -1, -1):
        word_ids[place] = pieces[index]
        index = np.int64(starts[index])
    return count


@inline
def _margin(
    buffer: Bytes, size: int, units: Int32s, scores: Float64s, unknown_score: np.float32, first_best: Float64s,
    second_best: Float64s,
) -> np.float64:  # fmt: skip
    """By how much the best path of a word is better than the second best, in float64.

    Each piece counts one rounding more than its score: a path of n pieces is computed at most n roundings from its true
    sum, so the best one wins for certain if it leads by twice its own n roundings.
    """
    for index in range(size + 1):
        first_best[index] = _IMPOSSIBLE
        second_best[index] = _IMPOSSIBLE
    first_best[0] = 0.0
    position = 0
    while position < size:
        length = min(_character_bytes(buffer[position]), size - position)
        single = False
        state = np.int64(0)
        index = position
        while index < size:
            state = child(units, state, buffer[index])
            if state == NO_STATE:
                break
            index += 1
            piece = units[state, VALUE]
            if piece >= 0:
                _offer(first_best, second_best, position, index, scores[piece] + _ROUNDING)
                if index - position == length:
                    single = True
        if not single:
            _offer(first_best, second_best, position, position + length, np.float64(unknown_score) + _ROUNDING)
        position += length
    return first_best[size] - second_best[size]


@inline
def _offer(first_best: Float64s, second_best: Float64s, position: int, index: int, score: float) -> None:
    """Takes the two best paths to `position`, with one more piece, as candidates for those to `index`."""
    for path in range(2):
        candidate = (first_best[position] if path == 0 else second_best[position]) + score
        if candidate > first_best[index]:
            second_best[index] = first_best[index]
            first_best[index] = candidate
        elif candidate > second_best[index]:
            second_best[index] = candidate
