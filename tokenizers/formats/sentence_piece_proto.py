"""Reading a SentencePiece model (`*.model`, `*.spm`): a protocol buffer, decoded here without its library."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.vocabulary_files import piece_bytes, read_vocabulary_file
from clozekit.tokenizers.kernels.charsmap import read_charsmap

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD_MODEL, CHARACTER = range(1, 5)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Scores are logarithms of probabilities, or negative ranks: sums of any above it are no numbers for long.
_LARGEST_SCORE = 1e9
_BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# Number of a field that is read -> how it is written; the others are passed over.
_MODEL_FIELDS = {1: _BYTES, 2: _BYTES, 3: _BYTES}
_PIECE_FIELDS = {1: _BYTES, 2: _FIXED32, 3: _VARINT}
_TRAINER_FIELDS = {3: _VARINT, 24: _VARINT, 35: _VARINT, 44: _BYTES, 46: _BYTES, 47: _BYTES}
_NORMALIZER_FIELDS = {2: _BYTES, 3: _VARINT, 4: _VARINT, 5: _VARINT}


class SentencePieceModel(NamedTuple):
    """pieces, scores (float32 values), types: a row for each piece. The rest are the settings that decide ids."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    model_type: int
    byte_fallback: bool
    treat_whitespace_as_suffix: bool
    unknown_surface: str
    bos_piece: str
    eos_piece: str
    precompiled_charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool


def read_model(data: bytes, source: str) -> SentencePieceModel:
    """The model in the bytes of a `.model` file. Raises InputError where they are damaged or not of a kind we know."""
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(data, source, _MODEL_FIELDS):
        if number == 1 and isinstance(value, bytes):
            # A piece of the default type and score leaves both out.
            described = dict(_fields(value, f"{source}, piece {len(pieces)}", _PIECE_FIELDS))
            pieces.append(_text(described.get(1, b""), source, f"piece {len(pieces)}"))
            scores.append(struct.unpack("<f", struct.pack("<I", described.get(2, 0)))[0])
            types.append(int(described.get(3, NORMAL)))
        elif number == 2 and isinstance(value, bytes):
            # A message that stands twice is one, the later fields before the earlier.
            trainer |= dict(_fields(value, f"{source}, trainer settings", _TRAINER_FIELDS))
        elif number == 3 and isinstance(value, bytes):
            normalizer |= dict(_fields(value, f"{source}, normalizer settings", _NORMALIZER_FIELDS))
    model = SentencePieceModel(
        pieces,
        scores,
        types,
        model_type=int(trainer.get(3, UNIGRAM)),
        byte_fallback=bool(trainer.get(35, 0)),
        treat_whitespace_as_suffix=bool(trainer.get(24, 0)),
        unknown_surface=_text(trainer.get(44, " ⁇ ".encode()), source, "its unknown surface"),
        bos_piece=_text(trainer.get(46, b"<s>"), source, "its begin piece"),
        eos_piece=_text(trainer.get(47, b"</s>"), source, "its end piece"),
        precompiled_charsmap=bytes(normalizer.get(2, b"")),
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        escape_whitespaces=bool(normalizer.get(5, 1)),
    )
    _check(model, source)
    return model


def read_rules(data: bytes, source: str) -> bytes:
    """The compiled normalisation rules in the bytes of a model, which need not hold any pieces."""
    spec = dict(_fields(data, source, _MODEL_FIELDS)).get(3, b"")
    assert isinstance(spec, bytes)
    rules = dict(_fields(spec, source, _NORMALIZER_FIELDS)).get(2, b"")
    assert isinstance(rules, bytes)
    return rules


def write_model(pieces: Sequence[tuple[str, float, int]], precompiled_charsmap: bytes = b"") -> bytes:
    """The bytes of a Unigram model with (piece, score, type) rows and these normalisation rules."""

    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        encoded = bytearray([number << 3 | _BYTES])
        while length >= 0x80:
            encoded.append(length & 0x7F | 0x80)
            length >>= 7
        encoded.append(length)
        return bytes(encoded) + content

    parts = []
    for number, (piece, score, kind) in enumerate(pieces):
        if not abs(score) <= _LARGEST_SCORE:
            raise InputError(f"the score of a piece must be within 1e9 of 0, piece {number} has {score}; correct it")
        described = (
            field(1, piece_bytes(piece, f"piece {number}")) + bytes([2 << 3 | _FIXED32]) + struct.pack("<f", score)
        )
        parts.append(field(1, described + bytes([3 << 3, kind])))
    parts.append(field(2, bytes([3 << 3, UNIGRAM])))
    parts.append(field(3, field(2, precompiled_charsmap) if precompiled_charsmap else b""))
    return b"".join(parts)


def read_proto(proto: str | Path | bytes) -> tuple[bytes, str]:
    """(bytes, what to call their source) of a path, or of the bytes themselves."""
    if isinstance(proto, bytes):
        return proto, "the proto"
    return read_vocabulary_file(proto, "a SentencePiece model"), str(proto)


def _check(model: SentencePieceModel, source: str) -> None:
    """What compiled code and the library take for granted."""
    if not model.pieces:
        raise InputError(f"a SentencePiece model must hold pieces, {source} holds none; is it the right file?")
    if model.model_type not in (UNIGRAM, WORD_MODEL):
        raise InputError(
            f"a SentencePiece model must be Unigram (1) or WORD (3), {source} has model_type {model.model_type};"
            " train one with --model_type=unigram"
        )
    seen: dict[str, int] = {}
    for token_id, (piece, score, kind) in enumerate(zip(model.pieces, model.scores, model.types, strict=True)):
        if piece == "":
            raise InputError(f"a piece must not be empty, piece {token_id} of {source} is; train the model again")
        if piece in seen:
            raise InputError(
                f"a vocabulary holds each piece once, {source} has {piece!r:.200} as {seen[piece]} and {token_id}"
            )
        seen[piece] = token_id
        if not abs(score) <= _LARGEST_SCORE:
            raise InputError(f"the score of a piece must be within 1e9 of 0, piece {token_id} of {source} has {score}")
        if not NORMAL <= kind <= BYTE:
            raise InputError(f"the type of a piece must be 1 to 6, piece {token_id} of {source} has {kind}; correct it")
        if kind == BYTE and piece not in _BYTE_PIECES:
            raise InputError(
                f"a byte piece must be one of <0x00> to <0xFF>, piece {token_id} of {source} is {piece!r:.200}; correct it"
            )
    if model.types.count(UNKNOWN) != 1:
        raise InputError(
            f"a SentencePiece model must hold one unknown piece, {source} holds {model.types.count(UNKNOWN)};"
            " train the model again"
        )
    num_bytes, needed = model.types.count(BYTE), 256 if model.byte_fallback else 0
    if num_bytes != needed:
        raise InputError(
            f"a SentencePiece model must hold 256 byte pieces with byte_fallback and none without, {source} should hold"
            f" {needed} and holds {num_bytes}; train the model again"
        )
    read_charsmap(model.precompiled_charsmap, source)


def _text(value: int | bytes, source: str, what: str) -> str:
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"a SentencePiece model must be UTF-8, {what} of {source} is not; copy it again") from error


def _fields(data: bytes, source: str, kinds: Mapping[int, int]) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of each field of a message. kinds: how those that are read must be written."""
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, position, source)
        wire_type, number = key & 7, key >> 3
        if number == 0 or kinds.get(number, wire_type) != wire_type:
            raise InputError(f"{source} must be a SentencePiece model, byte {start} is no field of one; check the file")
        if wire_type == _VARINT:
            value: int | bytes
            value, position = _varint(data, position, source)
        elif wire_type in (_BYTES, _FIXED32, _FIXED64):
            if wire_type == _BYTES:
                length, position = _varint(data, position, source)
            else:
                length = 4 if wire_type == _FIXED32 else 8
            if position + length > len(data):
                raise InputError(
                    f"a SentencePiece model must be whole, {source} breaks off at byte {len(data)}: the field at byte"
                    f" {start} needs {position + length - len(data)} more; copy the file again"
                )
            value = data[position : position + length]
            if wire_type != _BYTES:
                value = int.from_bytes(value, "little")
            position += length
        else:
            raise InputError(f"{source} must be a SentencePiece model, byte {start} is no field of one; check the file")
        yield number, value


def _varint(data: bytes, position: int, source: str) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise InputError(
                f"a SentencePiece model must be whole, {source} breaks off at byte {position}; copy it again"
            )
        value |= (data[position] & 0x7F) << shift
        position += 1
        if data[position - 1] < 0x80:
            return value, position
        shift += 7
