"""Files, local or in an object store: what is there, writing one whole or not at all."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local as is_local
from clozekit.tokenizers.storage.file_systems import open_file_system, reason_of, temporary_name, write_bytes_whole


@dataclass(frozen=True)
class InputFile:
    """One input file: its path or URL, its size in bytes, what changes when its content does, and its source's name."""

    path: str
    num_bytes: int
    version: str
    source: str = ""


def join(directory: str, *names: str) -> str:
    return posixpath.join(directory, *names)


def try_writing(directory: str) -> None:
    """Raises InputError unless a file can be written into `directory`, which is made if it is not there: only a write tells
    it of a store. `check_writable` of owned_files.py looks at local folders and leaves them as they are."""
    probe = temporary_name(join(directory, "probe"))
    try:
        write_bytes_whole(probe, b"")
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
    if is_local(filesystem):
        return int(filesystem.size(name)) if filesystem.isfile(name) else None
    # A store is asked once.
    try:
        found = filesystem.info(name)
    except FileNotFoundError:
        return None
    return int(found["size"]) if found["type"] == "file" else None


def list_sizes(directory: str) -> dict[str, int]:
    """Name -> bytes of the files directly in `directory`, none when it does not exist: one listing."""
    filesystem, path = open_file_system(directory)
    try:
        entries = filesystem.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # Of a file it lists the file itself.
    inside = [entry for entry in entries if entry["type"] == "file" and entry["name"].rstrip("/") != path.rstrip("/")]
    return {posixpath.basename(entry["name"]): int(entry["size"]) for entry in inside}


def list_names(directory: str) -> list[str]:
    """Names of the files directly in `directory`, sorted; none when it does not exist."""
    return sorted(list_sizes(directory))


def read_many(paths: Sequence[str]) -> list[bytes]:
    """The contents of some files of one file system; of a store one request each, many of them at once. Raises what a single one
    raises that is not there."""
    if not paths:
        return []
    filesystem, _ = open_file_system(paths[0])
    names = [open_file_system(path)[1] for path in paths]
    if is_local(filesystem):
        return [bytes(filesystem.cat_file(name)) for name in names]
    found = filesystem.cat(names)
    return [bytes(found[name]) for name in names]


def remove(path: str) -> None:
    """Removes a file or a folder with all it holds; nothing happens when it does not exist."""
    filesystem, name = open_file_system(path)
    if filesystem.exists(name):
        filesystem.rm(name, recursive=True)
