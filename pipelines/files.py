"""Files, local or in an object store: finding inputs, reading them plain or compressed, writing one whole or not at all."""

import bz2
import gzip
import io
import os
import posixpath
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import is_local, open_file_system, path_named, reason_of

# What a directory given as an input is searched for.
TEXT_SUFFIXES = (".txt", ".md", ".text", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".wet", ".warc")
COMPRESSION_SUFFIXES = (".gz", ".bz2", ".zst")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """One input file: its path or URL, its size in bytes, what changes when its content does, and its source's name."""

    path: str
    num_bytes: int
    version: str
    source: str = ""


def join(directory: str, *names: str) -> str:
    return posixpath.join(directory, *names)


def bare_name(path: str) -> str:
    """`path` without the suffix of its compression."""
    for suffix in COMPRESSION_SUFFIXES:
        path = path.removesuffix(suffix)
    return path


def is_compressed(path: str) -> bool:
    return path.endswith(COMPRESSION_SUFFIXES)


def find_inputs(patterns: tuple[str, ...], source: str = "") -> tuple[InputFile, ...]:
    """The files that paths, globs and directories name, each once, sorted by path.

    Raises InputError for a pattern that matches nothing, a directory without text files, an unreadable file.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        filesystem, path = open_file_system(pattern)
        try:
            matches = _matches(filesystem, path, pattern)
        except InputError:
            raise
        # The clients of stores share no class of errors.
        except Exception as error:
            if is_local(filesystem):
                raise
            raise InputError(f"every input must be readable, {pattern} is not: {reason_of(error)}") from error
        for number, (name, info) in enumerate(matches.items()):
            url = name if is_local(filesystem) else filesystem.unstrip_protocol(name)
            # In a store permissions are those of the bucket, and every look is a request.
            if is_local(filesystem) or number == 0:
                _check_readable(filesystem, name, url)
            found[url] = InputFile(url, int(info["size"]), str(info.get("mtime") or info.get("etag") or ""), source)
    return tuple(found[url] for url in sorted(found))


def _matches(filesystem: Any, path: str, pattern: str) -> dict[str, Any]:
    """Name -> what the file system says of it."""
    if filesystem.isdir(path):
        everything = filesystem.find(path, detail=True)
        names = {name: info for name, info in everything.items() if bare_name(name).endswith(TEXT_SUFFIXES)}
        if not names:
            raise InputError(
                f"an input directory must hold text ({', '.join(TEXT_SUFFIXES)}, plain or {', '.join(COMPRESSION_SUFFIXES)}), {pattern}"
                " holds none; name the files with a glob such as 'docs/*.txt'"
            )
        return names
    # A name that is there is meant as it stands, brackets and all.
    if filesystem.isfile(path):
        return {path: filesystem.info(path)}
    names = {name: info for name, info in filesystem.glob(path, detail=True).items() if info["type"] == "file"}
    if not names:
        what = "matches no file" if any(character in path for character in "*?[") else "does not exist"
        raise InputError(f"every input must name at least one file, {pattern!r} {what}; check the path or the glob")
    return names


def _check_readable(filesystem: Any, name: str, url: str) -> None:
    try:
        with filesystem.open(name, "rb") as stream:
            stream.read(1)
    except OSError as error:
        raise InputError(
            f"every input must be readable, {url} is not ({reason_of(error)}); check its permissions"
        ) from error


@contextmanager
def open_plain(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file as they are."""
    filesystem, name = open_file_system(path)
    if is_local(filesystem):
        # fsspec's local file reads a line byte by byte in Python.
        with open(name, "rb", _BUFFER_BYTES) as local:
            yield local
    else:
        with filesystem.open(name, "rb") as stream:
            # fsspec's own files know no readline of at most so many bytes.
            yield io.BufferedReader(stream, _BUFFER_BYTES)


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a plain or compressed (by suffix) file; `COMPRESSION_ERRORS` come from a damaged one."""
    with open_plain(path) as stream:
        if path.endswith(".gz"):
            with gzip.open(stream) as plain:
                yield plain  # type: ignore[misc]
        elif path.endswith(".bz2"):
            with bz2.open(stream) as plain:
                yield plain
        elif path.endswith(".zst"):
            # Arrow's reader notices a file that was cut short; those of zstandard end in silence.
            with pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd") as plain:
                yield io.BufferedReader(plain, _BUFFER_BYTES)
        else:
            yield stream


def write_whole(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Calls `write` with a stream and shows the file under `path` only when it is complete.

    Local files are written under a temporary name, synced and renamed; object stores show an object when its upload
    ends and know no rename, so there the object is written under its own name.
    """
    filesystem, name = open_file_system(path)
    if not is_local(filesystem):
        with filesystem.open(name, "wb") as stream:
            write(stream)
        return
    os.makedirs(os.path.dirname(name), exist_ok=True)
    temporary = f"{name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with path_named(name), open(temporary, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, name)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_bytes(path: str, content: bytes) -> None:
    def write(stream: IO[bytes]) -> None:
        stream.write(content)

    write_whole(path, write)


def check_writable(directory: str) -> None:
    """Raises InputError unless a file can be written into `directory`, which is made if it is not there."""
    probe = join(directory, f".clozekit-probe-{uuid.uuid4().hex[:8]}")
    try:
        write_bytes(probe, b"")
        remove(probe)
    # The clients of stores share no class of errors.
    except Exception as error:
        raise InputError(
            f"the output must be a directory that can be written, {directory} is not ({reason_of(error)})"
        ) from error


def read_bytes(path: str) -> bytes:
    filesystem, name = open_file_system(path)
    return bytes(filesystem.cat_file(name))


def file_size(path: str) -> int | None:
    """Size in bytes, None when there is no such file."""
    filesystem, name = open_file_system(path)
    return int(filesystem.size(name)) if filesystem.isfile(name) else None


def list_names(directory: str) -> list[str]:
    """Names of the files directly in `directory`, sorted; none when it does not exist."""
    filesystem, path = open_file_system(directory)
    if not filesystem.isdir(path):
        return []
    return sorted(
        posixpath.basename(entry["name"]) for entry in filesystem.ls(path, detail=True) if entry["type"] == "file"
    )


def remove(path: str) -> None:
    """Removes a file or a folder with all it holds; nothing happens when it does not exist."""
    filesystem, name = open_file_system(path)
    if filesystem.exists(name):
        filesystem.rm(name, recursive=True)


def remove_if_empty(directory: str) -> None:
    """Removes a local folder that holds nothing; stores have no such folders."""
    filesystem, path = open_file_system(directory)
    if is_local(filesystem) and os.path.isdir(path) and not os.listdir(path):
        os.rmdir(path)
