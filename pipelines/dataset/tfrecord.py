"""TFRecord files: framing records with their checksums, and reading them back with a clear error when damaged."""

import struct
from collections.abc import Iterable, Iterator
from typing import IO

import google_crc32c

from clozekit.tokenizers.common.errors import InputError

_MASK = 0xA282EAD8
_PART_BYTES = 1 << 24
# Length of a record and the checksum of that; the checksum of its content.
_HEADER, _CRC = struct.Struct("<QI"), struct.Struct("<I")


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
    """A TFRecord file of records: each with its length and two checksums.

    Args:
        records: the content of each.

    Returns:
        The bytes of the file, 16 more for each record.

    Example:

        >>> import io
        >>> from clozekit.pipelines.dataset.tfrecord import frame_records, read_records
        >>> content = frame_records([b"one", b"three"])
        >>> len(content), list(read_records(io.BytesIO(content), "memory"))
        (40, [b'one', b'three'])
    """
    return b"".join(map(frame_record, records))


def read_records(stream: IO[bytes], source: str, limit: int | None = None) -> Iterator[bytes]:
    """The records of a TFRecord stream, checked as they are read.

    Args:
        stream: a file opened for bytes.
        source: its name, for the error.
        limit: the most bytes of a record; None: any number.

    Returns:
        The content of each record, one after the other.

    Raises:
        InputError: naming `source` and the record that is cut or changed, or has more than `limit` bytes.

    Example:

        >>> import io
        >>> from clozekit.pipelines.dataset.tfrecord import frame_records, read_records
        >>> list(read_records(io.BytesIO(frame_records([b"one"])[:-1]), "one.tfrecord"))
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: a shard must be whole, one.tfrecord is damaged at record 0: its content
        is cut short; copy it again or run `clozekit prepare --overwrite`
    """
    advice = "copy it again or run `clozekit prepare --overwrite`"
    for number, record in enumerate(_records(stream, source, limit, "a shard", advice)):
        if record is None:
            raise InputError(
                f"a shard must hold rows, record {number} of {source} is longer than any row ({limit:,} bytes); {advice}"
            )
        yield record


def read_input_records(stream: IO[bytes], source: str, limit: int) -> Iterator[bytes | None]:
    """The records of a file that Clozekit did not write; None for one of more than `limit` bytes, which is passed over."""
    return _records(stream, source, limit, "a TFRecord input", "fetch it again, or name it after what it is")


def _records(stream: IO[bytes], source: str, limit: int | None, what: str, advice: str) -> Iterator[bytes | None]:
    def damaged(found: str) -> InputError:
        return InputError(f"{what} must be whole, {source} is damaged at record {number}: {found}; {advice}")

    number = 0
    while header := stream.read(12):
        if len(header) < 12:
            raise damaged("its header is cut short")
        length, length_crc = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != length_crc:
            raise damaged("its length fails the checksum")
        if limit is not None and length > limit:
            if _skip(stream, length + 4) < length + 4:
                raise damaged("its content is cut short")
            yield None
        else:
            body = stream.read(length + 4) if length < _PART_BYTES else _read(stream, length + 4)
            if len(body) < length + 4:
                raise damaged("its content is cut short")
            content = body[:-4]
            if _masked_crc(content) != _CRC.unpack_from(body, length)[0]:
                raise damaged("its content fails the checksum")
            yield content
        number += 1


def _read(stream: IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, in parts: a damaged length may be anything, and memory is for what is there."""
    body = stream.read(min(size, _PART_BYTES))
    if len(body) == size or len(body) < min(size, _PART_BYTES):
        return body
    parts = [body]
    while (size := size - len(parts[-1])) and (part := stream.read(min(size, _PART_BYTES))):
        parts.append(part)
    return b"".join(parts)


def _skip(stream: IO[bytes], size: int) -> int:
    skipped = 0
    while part := stream.read(min(size - skipped, _PART_BYTES)):
        skipped += len(part)
    return skipped
