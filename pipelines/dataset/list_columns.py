"""Columns of lists: many short lists in two flat arrays, made, taken apart and gathered without copies."""

import numpy as np
import pyarrow as pa

# Values in a list from which on a copy of each costs less than an index of each value (measured; half of the time at 400).
_LONG_LIST = 64


def list_column(values: np.ndarray, lengths: np.ndarray) -> pa.LargeListArray:
    """A list per entry of `lengths`, cut from `values` one after the other."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def list_parts(column: pa.LargeListArray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `list_column`: all values, and the length of each list (int64)."""
    # `flatten` respects the offsets of a sliced column, `values` would not.
    return column.flatten().to_numpy(zero_copy_only=False), column.value_lengths().to_numpy(zero_copy_only=False)


def gather_lists(values: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The values of the lists taken in `order`, one after the other."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    taken = lengths[order]
    if len(order) and taken.sum() > _LONG_LIST * len(order):
        # Long ones are copied one by one: indices of their values would take 24 bytes each for a while.
        parts = zip(starts[order].tolist(), ends[order].tolist(), strict=True)
        return np.concatenate([values[start:end] for start, end in parts])
    # Position inside the result minus where its list begins there = position inside the list.
    begins = np.cumsum(taken) - taken
    return values[np.arange(int(taken.sum())) - np.repeat(begins - starts[order], taken)]
