"""Inputs: the files that paths, globs and directories name, each once; and what is passed over."""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clozekit.pipelines.reading.own_names import ours_in
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files.open_input import COMPRESSION_SUFFIXES, bare_name, other_kind, read_head
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, reason_of

# What a directory given as an input is searched for.
TEXT_SUFFIXES = (".txt", ".md", ".text", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".wet", ".warc")
_NUM_SHOWN = 5


@dataclass
class Skipped:
    """What directories and globs hold and is not read: how many files and folders, how many of them Clozekit wrote, and
    the first few of the others with the reason."""

    number: int = 0
    num_ours: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        self.number += 1
        if len(self.shown) < _NUM_SHOWN:
            self.shown.append(f"{printable(path)} ({reason})")

    def add_ours(self) -> None:
        self.number += 1
        self.num_ours += 1

    def line(self) -> str:
        more = self.number - self.num_ours - len(self.shown)
        parts = [*self.shown, *([f"{more:,} more"] if more else [])]
        if self.num_ours:
            parts.append(f"{self.num_ours:,} that Clozekit wrote")
        return f"not read, {self.number:,} in all: {', '.join(parts)}"


def printable(path: str) -> str:
    """A path as one line of UTF-8, whatever its bytes are."""
    return path if _is_one_line(path) else ascii(path)[1:-1]


def _is_one_line(path: str) -> bool:
    # Bytes of a name that are not UTF-8 are surrogates.
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path)


def find_inputs(
    patterns: Sequence[str],
    source: str = "",
    skipped: Skipped | None = None,
    outputs: Sequence[str] = (),
    check: Callable[[str, bytes], None] = lambda path, head: None,
) -> tuple[InputFile, ...]:
    """The files that paths, globs and directories name, each once by whatever names, sorted by path.

    skipped: is told what directories and globs hold beside them; outputs: folders that Clozekit writes to now, where
    what it writes is no input; check: is given each local file, and one of a store, with its first bytes.

    Raises InputError for a pattern that matches nothing, a directory without text files, an unreadable file.
    """
    found: dict[str, InputFile] = {}
    skipped = Skipped() if skipped is None else skipped
    for pattern in patterns:
        if not pattern:
            raise InputError("every input must name a file, a directory or a glob, got an empty name; leave it out")
        filesystem, path = open_file_system(pattern)
        try:
            matches = _matches(filesystem, path, pattern, skipped, outputs)
        except InputError:
            raise
        # The clients of stores share no class of errors.
        except Exception as error:
            raise InputError(
                f"every input must be readable, {printable(pattern)} is not: {reason_of(error)}"
            ) from error
        for number, (name, info) in enumerate(matches.items()):
            local = is_local(filesystem)
            url = name if local else filesystem.unstrip_protocol(name)
            if not _is_one_line(url):
                raise InputError(
                    f"the name of an input must be UTF-8 on one line, got {printable(url)}; rename the file"
                )
            # In a store permissions are those of the bucket, and every look is a request.
            if local or number == 0:
                check(url, _head(filesystem, name, url))
            file = InputFile(url, int(info["size"]), str(info.get("mtime") or info.get("etag") or ""), source)
            key = os.path.realpath(name) if local else url
            if key not in found or url < found[key].path:
                found[key] = file
    return tuple(sorted(found.values(), key=lambda file: file.path))


def _head(filesystem: Any, name: str, url: str) -> bytes:
    try:
        return read_head(filesystem, name)
    except OSError as error:
        raise InputError(
            f"every input must be readable, {url} is not ({reason_of(error)}); check its permissions"
        ) from error


def _matches(
    filesystem: Any, path: str, pattern: str, skipped: Skipped, outputs: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Name -> what the file system says of it."""
    local = is_local(filesystem)
    shown = printable(pattern)
    if local and (what := other_kind(path)):
        raise InputError(f"an input must be a file, a directory or a glob, {shown} is {what}; write it to a file")
    if filesystem.isdir(path):
        entries = (
            _local_entries(path, skipped, _Ours(path, outputs))
            if local
            else _store_entries(filesystem, path, skipped, outputs)
        )
        names = {}
        for name, info in entries:
            if bare_name(name).endswith(TEXT_SUFFIXES):
                names[name] = info
            else:
                skipped.add(name, "none of the suffixes")
        if not names:
            raise InputError(
                f"an input directory must hold text ({', '.join(TEXT_SUFFIXES)}, plain or"
                f" {', '.join(COMPRESSION_SUFFIXES)}), {shown} holds none; name the files with a glob such as"
                f" 'docs/*.txt'{'; ' + skipped.line() if skipped.number else ''}"
            )
        return names
    # A name that is there is meant as it stands, brackets and all.
    if filesystem.isfile(path):
        return {path: filesystem.info(path)}
    names = {}
    fixed = os.path.dirname(re.split(r"[*?[]", path, maxsplit=1)[0])
    ours = _Ours(fixed, outputs)
    for name, there in filesystem.glob(path, detail=True).items():
        found = _stat(name) if local else there
        if local and ours.holds(name):
            skipped.add_ours()
        elif found is not None and found["type"] == "file":
            names[name] = found
        else:
            kind = "a folder" if found and found["type"] == "directory" else other_kind(name) or "a broken link"
            skipped.add(name, kind)
    if not names:
        what = "matches no file" if any(character in path for character in "*?[") else "does not exist"
        beside = f" that is read ({skipped.line()})" if skipped.number else ""
        raise InputError(
            f"every input must name at least one file, {shown!r} {what}{beside}; check the path or the glob"
        )
    return names


def _stat(path: str) -> dict[str, Any] | None:
    """What stands at the end of all links; None for a link that leads nowhere."""
    try:
        found = os.stat(path)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    kind = "directory" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"
    return {"type": kind, "size": found.st_size, "mtime": found.st_mtime}


def _local_entries(folder: str, skipped: Skipped, ours: "_Ours") -> Iterator[tuple[str, dict[str, Any]]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if os.path.isdir(path):
            # Its files would count twice, or lead round and round.
            if entry.is_symlink():
                skipped.add(path, "a link to a folder: name it as an input of its own")
            else:
                yield from _local_entries(path, skipped, ours)
        elif ours.holds(path):
            skipped.add_ours()
        elif (info := _stat(path)) is None:
            skipped.add(path, "a broken link")
        elif info["type"] != "file":
            skipped.add(path, other_kind(path))
        else:
            yield path, info


class _Ours:
    """Which files below `top` Clozekit wrote, as each of the folders above them says."""

    def __init__(self, top: str, outputs: Sequence[str]) -> None:
        self._top = top
        self._outputs = {os.path.realpath(open_file_system(output)[1]) for output in outputs}
        self._known: dict[str, Callable[[str], bool]] = {}

    def holds(self, path: str) -> bool:
        folder = os.path.dirname(path)
        while True:
            if folder not in self._known:
                names = os.listdir(folder)
                folders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
                self._known[folder] = ours_in(folder, names, folders, os.path.realpath(folder) in self._outputs)
            if self._known[folder](os.path.relpath(path, folder)):
                return True
            if folder == self._top or folder == os.path.dirname(folder):
                return False
            folder = os.path.dirname(folder)


def _store_entries(
    filesystem: Any, root: str, skipped: Skipped, outputs: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    found = filesystem.find(root, detail=True)
    below: dict[str, dict[str, bool]] = {}
    for path in found:
        folder, is_folder = path, False
        while folder != root and "/" in folder:
            folder, _, name = folder.rpartition("/")
            below.setdefault(folder, {})[name] = is_folder
            is_folder = True
    theirs = {open_file_system(output)[1].rstrip("/") for output in outputs}
    ours = {
        folder: ours_in(
            filesystem.unstrip_protocol(folder),
            list(names),
            [name for name, is_folder in names.items() if is_folder],
            folder in theirs,
        )
        for folder, names in below.items()
    }
    for path, info in found.items():
        parents = [path[: match.start()] for match in re.finditer("/", path)]
        if any(folder in ours and ours[folder](path[len(folder) + 1 :]) for folder in parents):
            skipped.add_ours()
        elif info["type"] == "file":
            yield path, info
