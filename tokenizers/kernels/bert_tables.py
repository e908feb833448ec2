"""What BERT's normalisation does to each code point, as tables for the compiled kernel.

The rules are those of google-research/bert `tokenization.py`: remove control characters, set CJK ideographs apart,
lower-case, decompose canonically (NFD, not NFKD), drop nonspacing marks, split on punctuation. They differ from the
Rust port of Hugging Face where README.md beside it says so.
"""

import functools
from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.kernels.unicode_tables import (
    CONTROL,
    NONSPACING_MARK,
    NUM_CODE_POINTS,
    PUNCTUATION,
    SPACE,
    unicode_tables,
)

# What a code point is to the kernel. MARK and MARK_STARTER are dropped; REORDER stays but may change places with its
# neighbours (canonical order); SIGMA is lower-cased by its context.
WORD, REMOVED, SPLIT, PUNCT, CJK, EXPAND, MARK, MARK_STARTER, REORDER, SIGMA = range(10)
SIGMA_CODE_POINT, SMALL_SIGMA, FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2

_CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_ASCII_PUNCTUATION = [*range(33, 48), *range(58, 65), *range(91, 97), *range(123, 127)]


class BertTables(NamedTuple):
    """kinds: uint8 (0x110000,), one of WORD .. SIGMA.

    expansion: int32 (0x110000,), 0 or the place in `expanded` where a length and the code points that replace this
    one stand. expanded: int32.
    """

    kinds: np.ndarray
    expansion: np.ndarray
    expanded: np.ndarray


@functools.cache
def bert_tables(lowercase: bool, strip_accents: bool, split: bool, split_on_cjk: bool) -> BertTables:
    tables = unicode_tables()
    properties = tables.properties
    kinds = np.full(NUM_CODE_POINTS, WORD, dtype=np.uint8)
    expansion = np.zeros(NUM_CODE_POINTS, dtype=np.int32)
    expanded = [0]
    marks = properties & NONSPACING_MARK != 0
    if strip_accents:
        kinds[marks] = np.where(tables.combining_class[marks] != 0, MARK, MARK_STARTER)
        kinds[~marks & (tables.combining_class != 0)] = REORDER
    lower = tables.lower if lowercase else {}
    decomposed = tables.decomposed if strip_accents else {}
    for code_point in [*lower, *decomposed]:
        if marks[code_point] and strip_accents:
            continue
        points = [point for low in lower.get(code_point, (code_point,)) for point in decomposed.get(low, (low,))]
        if strip_accents:
            points = [point for point in points if not marks[point]]
        if points != [code_point]:
            kinds[code_point] = EXPAND
            expansion[code_point] = len(expanded)
            expanded += [len(points), *points]
    if lowercase:
        kinds[SIGMA_CODE_POINT] = SIGMA
    if split:
        kinds[properties & PUNCTUATION != 0] = PUNCT
        kinds[_ASCII_PUNCTUATION] = PUNCT
        kinds[properties & SPACE != 0] = SPLIT
        if split_on_cjk:
            for first, last in _CJK_BLOCKS:
                kinds[first : last + 1] = CJK
        removed = properties & CONTROL != 0
        removed[[0x09, 0x0A, 0x0D]] = False
        kinds[removed] = REMOVED
        kinds[[0x0000, 0xFFFD]] = REMOVED
    return BertTables(kinds, expansion, np.array(expanded, dtype=np.int32))
