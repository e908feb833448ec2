"""A double-array trie over the bytes of pieces: the longest piece at a place is found in one walk.

A state is a row of `units`, int32 (num_states, 4): base, check, value, unused. The child of state s for byte b is
t = base[s] + b, if check[t] == s. `value` is the id of the piece that ends there, or -1. State 0 is the root.
"""

from collections.abc import Sequence

import numpy as np

from clozekit.tokenizers.kernels.compiled import compile_kernel, inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int32s, Int64s

NO_STATE = -1
BASE, CHECK, VALUE = 0, 1, 2


def build_trie(pieces: Sequence[bytes], values: Sequence[int]) -> np.ndarray:
    """Units of a trie that gives `values[i]` for `pieces[i]`. Pieces differ from each other and are not empty."""
    order = sorted(range(len(pieces)), key=pieces.__getitem__)
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(pieces[index]) for index in order], out=offsets[1:])
    data = np.frombuffer(b"".join(pieces[index] for index in order) + b"\0", dtype=np.uint8)
    ids = np.array([values[index] for index in order], dtype=np.int32)
    num_states = 1024 + 2 * len(data)
    while True:
        units = np.full((num_states, 4), -1, dtype=np.int32)
        # A state without children keeps base 0: no child of the root has it as its parent.
        units[:, BASE] = 0
        used = _build(data, offsets, ids, units, np.empty((len(data) + 2, 4), dtype=np.int64))
        if used >= 0:
            return units[:used].copy()
        num_states *= 2


@inline
def child(units: Int32s, state: int, byte: int | np.uint8) -> np.int64:
    """The state after `byte`, or NO_STATE."""
    following = units[state, BASE] + np.int64(byte)
    if units[following, CHECK] == state:
        return following
    return np.int64(NO_STATE)


@compile_kernel
def _build(data: Bytes, offsets: Int64s, values: Int32s, units: Int32s, stack: Int64s) -> int:
    """Fills `units`; the number of rows used, or -1 if there are too few."""
    stack[0, 0] = 0
    stack[0, 1] = 0
    stack[0, 2] = len(values)
    stack[0, 3] = 0
    stack_size = 1
    units[0, CHECK] = -2
    # Every state below it is taken, or too low for a large label: a base is at least 1.
    first_free = 256
    last_used = 255
    labels = np.empty(256, np.int64)
    starts = np.empty(257, np.int64)
    while stack_size > 0:
        stack_size -= 1
        state = stack[stack_size, 0]
        low = stack[stack_size, 1]
        high = stack[stack_size, 2]
        depth = stack[stack_size, 3]
        if low < high and offsets[low + 1] - offsets[low] == depth:
            units[state, VALUE] = values[low]
            low += 1
        if low == high:
            continue
        num_labels = 0
        for key in range(low, high):
            label = np.int64(data[offsets[key] + depth])
            if num_labels == 0 or labels[num_labels - 1] != label:
                labels[num_labels] = label
                starts[num_labels] = key
                num_labels += 1
        starts[num_labels] = high
        while units[first_free, CHECK] != -1:
            first_free += 1
        place = first_free
        # Only single children fill gaps: searching the gaps for more costs far more than the gaps.
        if num_labels > 1:
            place = max(place, last_used - 128)
        while True:
            base = place - labels[0]
            if base + 512 >= len(units):
                return -1
            fits = True
            for index in range(num_labels):
                if units[base + labels[index], CHECK] != -1:
                    fits = False
                    break
            if fits:
                break
            place += 1
        units[state, BASE] = base
        for index in range(num_labels):
            following = base + labels[index]
            units[following, CHECK] = state
            last_used = max(last_used, following)
            stack[stack_size, 0] = following
            stack[stack_size, 1] = starts[index]
            stack[stack_size, 2] = starts[index + 1]
            stack[stack_size, 3] = depth + 1
            stack_size += 1
    # 256 more rows, so that `child` may look without checking bounds.
    return last_used + 257
