"""One line of a JSON-lines file: an object, the digits of its whole numbers kept, nothing that is no JSON. No Beam."""

import io
import json
from collections.abc import Iterator
from typing import IO, Any

import orjson

from clozekit.pipelines.text_files.cut_text import BYTE_ORDER_MARK, Piece, cut_lines
from clozekit.tokenizers.common.errors import InputError


def cut_json_lines(stream: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[Piece]:
    """The lines that begin in [start, end) and hold something."""
    for piece in cut_lines(stream, start, end, limit):
        if piece.content is None:
            yield piece
            continue
        # Where files were joined, each may have begun with a mark.
        line = piece.content.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield piece if line is piece.content else piece._replace(content=line)


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that holds something."""
    for piece in cut_json_lines(io.BytesIO(content), 0, None, len(content)):
        yield piece.line, piece.content


def parse_object(line: bytes) -> dict[str, Any]:
    """The fields of a line. Raises InputError for what is no JSON object: NaN, half of a surrogate pair and bytes that are
    not UTF-8 are no JSON."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"a line must be one JSON object, this one is not ({error}); correct it") from error
    if not isinstance(fields, dict):
        raise InputError(f"a line must be one JSON object, this one is a {type(fields).__name__}; correct it")
    return fields


def name_of(line: bytes, fields: dict[str, Any], key: str) -> Any:
    """What stands under `key` of the fields of `line`; a whole number of more than 64 bits as its digits.

    orjson makes a float of it, as it does of others that begin with the same 16 digits.
    """
    value = fields[key]
    if not isinstance(value, float):
        return value
    exact = json.loads(line, parse_int=str)[key]
    return exact if isinstance(exact, str) else value
