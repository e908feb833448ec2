"""TFRecord files: framing records with their checksums, and reading them back with a clear error when damaged."""

import struct
from collections.abc import Iterable, Iterator
from typing import IO

import google_crc32c

from clozekit.tokenizers.errors import InputError

_MASK = 0xA282EAD8


def _masked_crc(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def frame_record(record: bytes) -> bytes:
    """A record as TFRecord frames it: length, checksum of the length, content, checksum of the content."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, struct.pack("<I", _masked_crc(length)), record, struct.pack("<I", _masked_crc(record))))


def check_crc_is_fast() -> None:
    """Raises RuntimeError where google_crc32c has only its Python form, a hundred times slower."""
    if google_crc32c.implementation != "c":
        raise RuntimeError(f"google_crc32c must be the C build, it is {google_crc32c.implementation!r}; reinstall it")


def frame_records(records: Iterable[bytes]) -> bytes:
    return b"".join(map(frame_record, records))


def read_records(stream: IO[bytes], source: str) -> Iterator[bytes]:
    """The records of a TFRecord stream. Raises InputError naming `source` and the record that is cut or changed."""
    number = 0
    while header := stream.read(12):
        if len(header) < 12:
            raise _damaged(source, number, "its header is cut short")
        length_bytes, length_crc = header[:8], struct.unpack("<I", header[8:])[0]
        if _masked_crc(length_bytes) != length_crc:
            raise _damaged(source, number, "its length fails the checksum")
        (length,) = struct.unpack("<Q", length_bytes)
        body = stream.read(length + 4)
        if len(body) < length + 4:
            raise _damaged(source, number, "its content is cut short")
        if _masked_crc(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            raise _damaged(source, number, "its content fails the checksum")
        yield body[:-4]
        number += 1


def _damaged(source: str, number: int, what: str) -> InputError:
    return InputError(
        f"a shard must be whole, {source} is damaged at record {number}: {what};"
        " copy it again or run `clozekit prepare --overwrite`"
    )
