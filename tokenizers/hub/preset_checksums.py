"""The cache of presets: where it is, and the checksums by which a damaged file is found."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import read_object

CACHE_VARIABLE = "CLOZEKIT_CACHE"


def cache_directory() -> Path:
    """Where downloaded presets and their checksums are kept."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "clozekit" / "presets"


@dataclass(frozen=True)
class Record:
    """What is known of a cached file: its sha256 and size, and what its source said of this version of it."""

    sha256: str
    size: int
    version: dict[str, str] = field(default_factory=dict)

    def fits(self, path: Path) -> bool:
        """Whether `path` holds the bytes that were recorded."""
        return path.is_file() and path.stat().st_size == self.size and sha256_of(path) == self.sha256


def record_of(path: Path, version: dict[str, str] | None = None) -> Record:
    return Record(sha256_of(path), path.stat().st_size, version or {})


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(path: Path) -> Record | None:
    """The record in `path`; None when there is none, or half of one: then the file counts as not cached."""
    try:
        content = read_object(path)
        return Record(str(content["sha256"]), int(content["size"]), dict(content["version"]))
    except (InputError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, record: Record) -> None:
    write_json(path, asdict(record))


def write_json(path: Path, content: object) -> None:
    """Writes JSON under a temporary name, then renames: another process never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(temporary, path)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time works on `directory`; the others wait for its files instead of fetching them twice."""
    lock = FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"the cache of presets must be writable, {directory} is not ({error.strerror});"
            f" set {CACHE_VARIABLE} to a directory that is"
        ) from error
    try:
        yield
    finally:
        lock.release()
