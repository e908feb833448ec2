"""SentencePiece's text normalisation: the compiled rules inside the model, for the compiled kernels.

The rules are a double array of the darts-clone library and the replacements it points to, one after the other and
each ended by a zero byte. At a place in the text the longest rule wins; where none matches the character stays.
"""

from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.kernels.compiled import inline
from clozekit.tokenizers.kernels.kernel_arrays import Bytes, Int32s, UInt32s
from clozekit.tokenizers.kernels.trie import NO_STATE, VALUE, child
from clozekit.tokenizers.kernels.utf8 import REPLACEMENT, decode_at

# The longest of sentencepiece's own rules has 33 bytes. A text may become this many times longer, so it has a limit.
MAX_REPLACEMENT_BYTES = 255
_LABEL = np.uint32(0x800000FF)
_VALUE = np.uint32(0x7FFFFFFF)


class Charsmap(NamedTuple):
    """rules: uint32 units of the double array. replacements: uint8. Both hold a dummy where a model has no rules."""

    rules: np.ndarray
    replacements: np.ndarray


def read_charsmap(blob: bytes, source: str) -> Charsmap:
    """The rules of a model, every offset in them checked: what compiled code reads without looking at bounds.

    Raises InputError for an index that is damaged, and for a rule whose replacement is not there or is out of proportion.
    """
    if not blob:
        return Charsmap(np.zeros(1, dtype=np.uint32), np.zeros(1, dtype=np.uint8))
    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or size + 4 >= len(blob) or size % 4 or not size:
        raise InputError(f"the normalisation rules of {source} must be whole, their index is damaged; copy it again")
    # A walk looks at most 255 units beyond the last.
    rules = np.zeros(size // 4 + 256, dtype=np.uint32)
    rules[: size // 4] = np.frombuffer(blob, dtype="<u4", count=size // 4, offset=4)
    replacements = np.frombuffer(blob, dtype=np.uint8, offset=4 + size).copy()
    _check_rules(rules, size // 4, replacements, source)
    return Charsmap(rules, replacements)


def _check_rules(rules: np.ndarray, num_units: int, replacements: np.ndarray, source: str) -> None:
    """A walk may step onto any unit whose label is a byte; where such a unit ends a rule, its offset must lead to a unit
    of the index, and the value of that one to a replacement that ends."""
    if replacements[-1] != 0:
        raise InputError(f"the normalisation rules of {source} must be whole, their last does not end; copy it again")
    ends_rule = ((rules & _LABEL) < 256) & (rules >> np.uint32(8) & np.uint32(1) != 0)
    # The root is no step of a walk.
    ends_rule[0] = False
    units = np.flatnonzero(ends_rule)
    leaves = units ^ _offset(rules[units]).astype(np.int64)
    if outside := np.flatnonzero(leaves >= num_units).tolist():
        raise InputError(
            f"the normalisation rules of {source} must point into their index of {num_units} units, unit"
            f" {units[outside[0]]} points to {leaves[outside[0]]}; copy it again"
        )
    places = (rules[leaves] & _VALUE).astype(np.int64)
    if outside := np.flatnonzero(places >= len(replacements)).tolist():
        raise InputError(
            f"the normalisation rules of {source} must point into their {len(replacements)} bytes of replacements, unit"
            f" {leaves[outside[0]]} points to {places[outside[0]]}; copy it again"
        )
    ends = np.flatnonzero(replacements == 0)
    lengths = ends[np.searchsorted(ends, places)] - places
    if len(lengths) and lengths.max() > MAX_REPLACEMENT_BYTES:
        raise InputError(
            f"a normalisation rule must replace by at most {MAX_REPLACEMENT_BYTES} bytes, one of {source} has"
            f" {lengths.max()}; train the model with shorter ones"
        )


def bytes_inside_rules(rules: np.ndarray) -> set[int]:
    """ASCII bytes that stand in some rule after its first byte."""
    indices = np.arange(len(rules), dtype=np.uint32)
    inner = (rules & _LABEL) != 0
    inner &= (rules >> np.uint32(31)) == 0
    first = int(_offset(rules[0]))
    found = set()
    for byte in range(1, 128):
        children = (indices ^ _offset(rules) ^ np.uint32(byte)).astype(np.int64)
        valid = inner & (children < len(rules))
        valid[valid] = (rules[children[valid]] & _LABEL) == byte
        # A child of the root is a first byte.
        valid[children == first ^ byte] = False
        if valid.any():
            found.add(byte)
    return found


def starts_longer_rule(charsmap: Charsmap, byte: int) -> bool:
    """Whether a rule of two or more bytes starts with `byte`."""
    rules = charsmap.rules
    node = int(_offset(rules[0])) ^ byte
    if node >= len(rules) or int(rules[node] & _LABEL) != byte:
        return False
    base = node ^ int(_offset(rules[node]))
    return any(base ^ label < len(rules) and int(rules[base ^ label] & _LABEL) == label for label in range(1, 256))


def _offset(units: np.ndarray) -> np.ndarray:
    return (units >> np.uint32(10)) << ((units & np.uint32(1 << 9)) >> np.uint32(6))


@inline
def next_unit(data: Bytes, position: int, end: int, rules: UInt32s, symbols: Int32s) -> tuple[int, np.int64]:
    """(bytes read, place of the replacement, or -1: the bytes themselves, or -2: U+FFFD) at `position`.

    symbols: trie of the user-defined symbols, which stand before any rule.
    """
    state = np.int64(0)
    longest = 0
    index = position
    while index < end:
        state = child(symbols, state, data[index])
        if state == NO_STATE:
            break
        index += 1
        if symbols[state, VALUE] >= 0:
            longest = index - position
    if longest > 0:
        return longest, np.int64(-1)
    replacement = np.int64(-1)
    index = position
    unit = rules[0]
    node = _unit_offset(unit)
    while index < end:
        byte = np.int64(data[index])
        node ^= byte
        if node >= len(rules):
            break
        unit = rules[node]
        if np.int64(unit & _LABEL) != byte:
            break
        index += 1
        node ^= _unit_offset(unit)
        if unit >> np.uint32(8) & np.uint32(1):
            longest = index - position
            replacement = np.int64(rules[node] & _VALUE)
    if longest > 0:
        return longest, replacement
    code_point, length = decode_at(data, position, end)
    # Surrogates are no characters to SentencePiece.
    if (code_point == REPLACEMENT and length == 1) or 0xD800 <= code_point < 0xE000:
        return 1, np.int64(-2)
    return length, np.int64(-1)


@inline
def _unit_offset(unit: np.uint32) -> np.int64:
    return np.int64((unit >> np.uint32(10)) << ((unit & np.uint32(1 << 9)) >> np.uint32(6)))
