"""Properties of every code point at one fixed Unicode version, whatever the version of Python.

Python's `unicodedata` changes with Python, and the same text must give the same ids on every machine. The version is
that of the regular expressions in Hugging Face `tokenizers` 0.23 and of tiktoken 0.14.
"""

import base64
import functools
import zlib
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.kernels import unicode_data

NUM_CODE_POINTS = 0x110000
LETTER, NUMBER, SPACE, PUNCTUATION, CONTROL, NONSPACING_MARK, CASED, CASE_IGNORABLE = (1 << bit for bit in range(8))

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3


class UnicodeTables(NamedTuple):
    """properties, combining_class: uint8 (0x110000,); lower, decomposed: code point -> code points, where they differ.

    `properties` holds the bits LETTER .. CASE_IGNORABLE; SPACE is White_Space, CONTROL is Cc or Cf. `lower` is the
    full lower-case mapping without context, `decomposed` the full canonical decomposition.
    """

    properties: np.ndarray
    combining_class: np.ndarray
    lower: dict[int, tuple[int, ...]]
    decomposed: dict[int, tuple[int, ...]]


@functools.cache
def unicode_tables() -> UnicodeTables:
    """Decoded on first use (about 20 ms) and kept."""
    flat = np.frombuffer(zlib.decompress(base64.b85decode(unicode_data.DATA)), dtype="<i4")
    columns = []
    position = 0
    while position < len(flat):
        end = position + 1 + int(flat[position])
        columns.append(flat[position + 1 : end])
        position = end
    decomposed = _mapping(*columns[7:10])
    for code_point in range(_HANGUL_FIRST, _HANGUL_LAST + 1):
        decomposed[code_point] = _decompose_hangul(code_point)
    return UnicodeTables(_runs(*columns[0:2]), _runs(*columns[2:4]), _mapping(*columns[4:7]), decomposed)


def _runs(gaps: np.ndarray, values: np.ndarray) -> np.ndarray:
    starts = np.cumsum(gaps)
    return np.repeat(values.astype(np.uint8), np.diff(starts, append=NUM_CODE_POINTS))


def _mapping(gaps: np.ndarray, lengths: np.ndarray, flat: np.ndarray) -> dict[int, tuple[int, ...]]:
    ends = np.cumsum(lengths)
    points = flat.tolist()
    rows = zip(np.cumsum(gaps).tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True)
    return {key: tuple(points[start:end]) for key, start, end in rows}


def _decompose_hangul(code_point: int) -> tuple[int, ...]:
    """Unicode, section 3.12: a syllable is two or three jamo by arithmetic."""
    index = code_point - _HANGUL_FIRST
    lead, vowel, tail = 0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28
    return (lead, vowel) if tail == 0x11A7 else (lead, vowel, tail)
