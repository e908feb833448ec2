"""Opening input files, local or in a store, plain or compressed; one line for what is damaged or wrongly named."""

import gzip
import io
import lzma
import os
import stat
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa

from clozekit.pipelines.text_files.content_kinds import HEAD_BYTES, check_compressed, check_text
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system

_COMPRESSIONS = {
    ".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd",
}  # fmt: skip
COMPRESSION_SUFFIXES = tuple(_COMPRESSIONS)
_BUFFER_BYTES = 1 << 20
_OTHER_KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
# What a file of `xz -9` takes is 65 MB; the header of a hostile one may ask for any amount.
_MAX_XZ_MEMORY = 1 << 30


def compression_suffix(path: str) -> str:
    """The suffix of a compressed file in lower case, "" of another."""
    lowered = path.lower()
    return next((suffix for suffix in COMPRESSION_SUFFIXES if lowered.endswith(suffix)), "")


def compression_of(path: str) -> str | None:
    """By which program a file is compressed, by its suffix in any case."""
    return _COMPRESSIONS.get(compression_suffix(path))


def is_compressed(path: str) -> bool:
    return compression_of(path) is not None


def bare_name(path: str) -> str:
    """`path` in lower case, without the suffix of its compression."""
    return path.lower().removesuffix(compression_suffix(path))


class _Members(io.RawIOBase):
    """The content of compressed members one behind the other (bzip2, xz).

    Python's own readers take what follows a member for rubbish and drop it when its beginning is damaged, and with it all
    that stands behind.
    """

    def __init__(self, stream: IO[bytes], make: Callable[[], Any]) -> None:
        self._stream = stream
        self._make = make
        self._member = make()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._member.eof:
                # Between the members of an xz there may be zeros.
                rest = self._member.unused_data.lstrip(b"\0")
                while not rest:
                    if not (part := self._stream.read(_BUFFER_BYTES)):
                        return 0
                    rest = part.lstrip(b"\0")
                self._member, self._waiting = self._make(), rest
            elif self._member.needs_input and not self._waiting:
                self._waiting = self._stream.read(_BUFFER_BYTES)
                if not self._waiting:
                    raise EOFError("it ends before its end marker")
            waiting, self._waiting = self._waiting, b""
            content = self._member.decompress(waiting, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


def other_kind(path: str) -> str:
    """What a path names that is neither file nor folder, "" where it names one or nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return next((what for is_kind, what in _OTHER_KINDS.items() if is_kind(mode)), "")


@contextmanager
def open_plain(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file as they are."""
    filesystem, name = open_file_system(path)
    if is_local(filesystem):
        if what := other_kind(name):
            raise InputError(f"an input must be a file, {path} is {what}; write it to a file")
        # fsspec's local file reads a line byte by byte in Python.
        with open(name, "rb", _BUFFER_BYTES) as local:
            yield local
    else:
        with filesystem.open(name, "rb") as stream:
            # fsspec's own files know no readline of at most so many bytes.
            yield io.BufferedReader(stream, _BUFFER_BYTES)


@contextmanager
def open_input(path: str, text: bool = False) -> Iterator[IO[bytes]]:
    """The bytes of a plain or compressed (by suffix) file; with `text`, of one that is to hold text.

    Raises InputError for a compressed file that is damaged or cut short, also while the block reads it, and for content
    that is known to be something else than the file is called.
    """
    kind = compression_of(path)
    with open_plain(path) as stream:
        try:
            opened = _decompressed(stream, kind)
            if text:
                check_text(opened.peek(HEAD_BYTES)[:HEAD_BYTES], path)  # type: ignore[attr-defined]
            yield opened
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, OSError) as error:
            # An error of the system has a number, that of a decompressor has none.
            if kind is None or getattr(error, "errno", None) is not None:
                raise
            raise InputError(
                f"a {compression_suffix(path)} input must be whole {kind}, {path} is damaged or cut short ({error}); fetch it again"
            ) from error


def _decompressed(stream: Any, kind: str | None) -> IO[bytes]:
    if kind is None:
        return stream
    if not stream.peek(1):
        raise EOFError("it is empty")
    if kind == "gzip":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if kind == "zstd":
        # Arrow's reader notices a file that was cut short; those of zstandard end in silence.
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"), _BUFFER_BYTES)
    make = BZ2Decompressor if kind == "bzip2" else lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
    return io.BufferedReader(_Members(stream, make), _BUFFER_BYTES)


def read_head(filesystem: Any, name: str) -> bytes:
    """The first bytes of a file as they are."""
    with filesystem.open(name, "rb") as stream:
        return bytes(stream.read(HEAD_BYTES))


def check_head(head: bytes, path: str, text: bool) -> None:
    """Raises InputError when a file that begins with `head` is known to be something else than its name says."""
    kind = compression_of(path)
    if kind is not None:
        check_compressed(head, kind, path)
    elif text:
        check_text(head, path)
