"""Presets at a URL that fsspec opens (`gs://`, `s3://`, `memory://`, ...), kept in the cache with their checksums."""

import base64
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import google_crc32c

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_checksums import (
    cache_directory,
    locked,
    read_record,
    record_of,
    write_json,
    write_record,
)
from clozekit.tokenizers.hub.remote_files import RemoteFiles
from clozekit.tokenizers.settings.json_files import read_json
from clozekit.tokenizers.storage.download_errors import (
    ABSENT,
    ChecksumError,
    cause_of,
    download_error,
    is_unreachable,
    kind_of,
)
from clozekit.tokenizers.storage.file_systems import open_file_system

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 4 << 20
# How the file systems call what changes with a file's content.
_VERSION_KEYS = ("etag", "ETag", "generation", "crc32c", "md5Hash", "LastModified", "last_modified", "mtime", "created")


class UrlFiles(RemoteFiles):
    """A preset below a URL. A cached file is used while the URL has the same version of it, or cannot be asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, url.rstrip("/").rsplit("/", 1)[-1])
        self._file_system, self._root = open_file_system(url.rstrip("/"))
        scheme, rest = url.split("://", 1)
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", rest)[-60:].strip("-")
        name = f"{readable}-{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:12]}"
        self._cache = cache_directory() / re.sub(r"[^A-Za-z0-9]+", "-", scheme) / name

    def names(self) -> list[str]:
        try:
            found = self._file_system.find(self._root)
        except Exception as error:
            raise download_error(self.source, "the list of files", error, self._last_id) from error
        return sorted(str(path).removeprefix(f"{self._root}/") for path in found)

    def local_directory(self) -> Path:
        names = self.names()
        if not names:
            raise InputError(f"a preset must hold files, {self.source} holds none; check the URL")
        for name in names:
            self.required_path(name)
        return self._cache / "files"

    def _fetch(self, name: str) -> Path | None:
        with locked(self._cache):
            cached, record_path = self._cache / "files" / name, self._cache / "records" / f"{name}.json"
            record = read_record(record_path)
            is_whole = record is not None and record.fits(cached)
            try:
                described = self._file_system.info(f"{self._root}/{name}")
                version = _version_of(described)
                if is_whole and record is not None and record.version == version:
                    return cached
                cached.parent.mkdir(parents=True, exist_ok=True)
                partial = self._download(name, described, version)
                new_record = record_of(partial, version)
                os.replace(partial, cached)
                write_record(record_path, new_record)
                return cached
            # A file system may raise anything; it goes on, with its cause in words.
            except Exception as error:
                if kind_of(error) == ABSENT:
                    return None
                if is_whole and is_unreachable(error):
                    _log.warning("%s can't be reached: the cached %s is taken", self.source, name)
                    return cached
                if cached.is_file() and not is_whole:
                    raise InputError(
                        f"{cached} must have the checksum it was stored with, it is damaged and could not be fetched"
                        f" again from {self.source}: {cause_of(error)}; try again, or copy the preset to a directory"
                    ) from error
                raise download_error(self.source, name, error, self._last_id) from error

    def _download(self, name: str, described: dict[str, Any], version: dict[str, str]) -> Path:
        """The whole file under a temporary name; what an earlier download of this version left is continued."""
        partial = self._cache / "partial" / name
        version_path = self._cache / "partial" / f"{name}.version.json"
        partial.parent.mkdir(parents=True, exist_ok=True)
        # A file system that gives nothing but a size can't say whether the rest belongs to the beginning.
        continues = len(version) > 1 and partial.is_file() and _read_version(version_path) == version
        if not continues:
            partial.unlink(missing_ok=True)
            write_json(version_path, version)
        with self._file_system.open(f"{self._root}/{name}", "rb") as source, partial.open("ab") as target:
            if target.tell():
                try:
                    source.seek(target.tell())
                except (NotImplementedError, ValueError, OSError):
                    target.truncate(0)
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
                # What has arrived survives the loss of the connection.
                target.flush()
        try:
            _check_arrived(partial, described)
        except ChecksumError:
            partial.unlink()
            raise
        return partial


def _version_of(described: dict[str, Any]) -> dict[str, str]:
    size = described.get("size")
    version = {key: str(described[key]) for key in _VERSION_KEYS if described.get(key) is not None}
    return {**version, "size": str(size)} if size is not None else version


def _read_version(path: Path) -> object:
    try:
        return read_json(path)
    except InputError:
        return None


def _check_arrived(path: Path, described: dict[str, Any]) -> None:
    """Raises ChecksumError unless size and, where the store gives one, crc32c are those that were promised."""
    size = described.get("size")
    if size is not None and path.stat().st_size != size:
        raise ChecksumError(f"{path.stat().st_size} bytes arrived instead of {size}")
    if "crc32c" in described:
        checksum = google_crc32c.Checksum()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                checksum.update(chunk)
        promised = str(described["crc32c"])
        arrived = base64.b64encode(checksum.digest()).decode()
        if arrived != promised:
            raise ChecksumError(f"crc32c {arrived} arrived instead of {promised}")
