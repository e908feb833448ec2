"""Slow and simple versions of the three algorithms, to compare the kernels with; no code is shared with them."""

import struct
import unicodedata

import regex

GPT2_PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
_CJK = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)]
_CJK += [(0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]


def bert_words(text: str, lowercase: bool) -> list[str]:
    """The words of google-research/bert's BasicTokenizer, step by step as its paper trail has them."""
    cleaned = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif character not in "\0\ufffd" and category not in ("Cc", "Cf"):
            cjk = any(first <= ord(character) <= last for first, last in _CJK)
            cleaned.append(f" {character} " if cjk else character)
    words = []
    for token in "".join(cleaned).split():
        if lowercase:
            decomposed = unicodedata.normalize("NFD", token.lower())
            token = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
        spaced = "".join(f" {character} " if is_punctuation(character) else character for character in token)
        words += spaced.split(" ")
    return [word for word in words if word]


def is_punctuation(character: str) -> bool:
    visible_ascii = "!" <= character <= "~" and not character.isalnum()
    return visible_ascii or unicodedata.category(character).startswith("P")


def wordpiece(word: str, ids: dict[str, int], unknown: str) -> list[int]:
    if len(word) > 100:
        return [ids[unknown]]
    found = []
    start = 0
    while start < len(word):
        pieces = [("##" if start else "") + word[start:end] for end in range(len(word), start, -1)]
        piece = next((piece for piece in pieces if piece in ids), None)
        if piece is None:
            return [ids[unknown]]
        found.append(ids[piece])
        start += len(piece) - (2 if start else 0)
    return found


def byte_pairs(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """GPT-2's `bpe`: every occurrence of the best pair, from left to right."""
    symbols = list(word)
    while len(symbols) > 1:
        best = min(zip(symbols, symbols[1:], strict=False), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        merged = []
        while symbols:
            if tuple(symbols[:2]) == best:
                merged.append(symbols[0] + symbols[1])
                symbols = symbols[2:]
            else:
                merged.append(symbols.pop(0))
        symbols = merged
    return symbols


def spm_proto(pieces: list[tuple[str, float, int]], model_type: int = 1, trainer: bytes = b"") -> bytes:
    """A SentencePiece model without normalisation rules. Types: 1 normal, 2 unknown, 3 control, 4 user-defined."""

    def field(number: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([number << 3 | 2, len(content)]) + content

    proto = b""
    for piece, score, kind in pieces:
        proto += field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([3 << 3, kind]))
    return proto + field(2, bytes([3 << 3, model_type]) + trainer)
