"""Files, local or in an object store: what is there, writing one whole or not at all."""

import os
import posixpath
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import is_local, open_file_system, reason_of


@dataclass(frozen=True)
class InputFile:
    """One input file: its path or URL, its size in bytes, what changes when its content does, and its source's name."""

    path: str
    num_bytes: int
    version: str
    source: str = ""


def join(directory: str, *names: str) -> str:
    return posixpath.join(directory, *names)


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
        with open(temporary, "wb") as stream:
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
