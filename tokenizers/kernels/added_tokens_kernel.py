"""Finds tokens in texts: at the leftmost place the longest, which then is behind us, as Hugging Face's library does."""

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Flags, Int32s, Int64s
from clozekit.tokenizers.kernels.trie import NO_STATE, VALUE, child


@compile_kernel
def find_tokens(data: Bytes, offsets: Int64s, units: Int32s, is_first: Flags, found: Int64s) -> int:
    """Fills rows of `found`, int64 (num_rows, 4): text, start, end, token. Their number; `found` must have room.

    units: a trie of the tokens. is_first: bool (256,), the bytes that tokens begin with.
    """
    number = 0
    for text in range(len(offsets) - 1):
        position = offsets[text]
        end = offsets[text + 1]
        while position < end:
            if not is_first[data[position]]:
                position += 1
                continue
            state = np.int64(0)
            token = np.int64(-1)
            longest = position
            index = position
            while index < end:
                state = child(units, state, data[index])
                if state == NO_STATE:
                    break
                index += 1
                if units[state, VALUE] >= 0:
                    token = np.int64(units[state, VALUE])
                    longest = index
            if token < 0:
                position += 1
                continue
            found[number, 0] = text
            found[number, 1] = position
            found[number, 2] = longest
            found[number, 3] = token
            number += 1
            position = longest
    return number
