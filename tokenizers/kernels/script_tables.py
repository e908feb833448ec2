"""The script of every code point, at the version that SentencePiece's trainer has."""

import base64
import functools
import zlib

import numpy as np

from clozekit.tokenizers.kernels import script_data
from clozekit.tokenizers.kernels.kernel_arrays import Int32s
from clozekit.tokenizers.kernels.unicode_tables import NUM_CODE_POINTS

# A mark has the script of what it stands on.
INHERITED = 0


@functools.cache
def script_numbers() -> Int32s:
    """int32 (0x110000,): a number for each script, INHERITED among them. Hiragana and Katakana are Han, as the trainer has it."""
    flat = np.frombuffer(zlib.decompress(base64.b85decode(script_data.DATA)), dtype="<i4").astype(np.int32)
    gaps, numbers = flat.reshape(2, -1)
    starts = np.cumsum(gaps)
    return np.repeat(numbers, np.diff(starts, append=NUM_CODE_POINTS))
