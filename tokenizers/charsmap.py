"""SentencePiece's text normalisation: the compiled rules inside the model, for the compiled kernels.

The rules are a double array of the darts-clone library and the replacements it points to, one after the other and
each ended by a zero byte. At a place in the text the longest rule wins; where none matches the character stays.
"""

from typing import NamedTuple

import numpy as np

from clozekit.tokenizers.compiled import inline
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.trie import NO_STATE, VALUE, child
from clozekit.tokenizers.utf8 import REPLACEMENT, decode_at

_LABEL = np.uint32(0x800000FF)


class Charsmap(NamedTuple):
    """rules: uint32 units of the double array. replacements: uint8. Both hold a dummy where a model has no rules."""

    rules: np.ndarray
    replacements: np.ndarray


def read_charsmap(blob: bytes, source: str) -> Charsmap:
    if not blob:
        return Charsmap(np.zeros(1, dtype=np.uint32), np.zeros(1, dtype=np.uint8))
    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or size + 4 >= len(blob) or size % 4 or not size:
        raise InputError(f"the normalisation rules of {source} must be whole, their index is damaged; copy it again")
    # A walk looks at most 255 units beyond the last.
    rules = np.zeros(size // 4 + 256, dtype=np.uint32)
    rules[: size // 4] = np.frombuffer(blob, dtype="<u4", count=size // 4, offset=4)
    replacements = np.frombuffer(blob[4 + size :] + b"\0", dtype=np.uint8).copy()
    return Charsmap(rules, replacements)


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
def next_unit(data, position, end, rules, symbols):
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
            replacement = np.int64(rules[node] & np.uint32(0x7FFFFFFF))
    if longest > 0:
        return longest, replacement
    code_point, length = decode_at(data, position, end)
    # Surrogates are no characters to SentencePiece.
    if (code_point == REPLACEMENT and length == 1) or 0xD800 <= code_point < 0xE000:
        return 1, np.int64(-2)
    return length, np.int64(-1)


@inline
def _unit_offset(unit):
    return np.int64((unit >> np.uint32(10)) << ((unit & np.uint32(1 << 9)) >> np.uint32(6)))
