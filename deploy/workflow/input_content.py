"""The content of what a step reads: hashes of files, remembered while the files stay as they are."""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clozekit.deploy.workflow.references import texts_in
from clozekit.tokenizers.storage.file_systems import is_url, open_file_system, write_text
from clozekit.tokenizers.storage.owned_files import OWNED_FILE

_MANIFEST = "manifest.json"
_OWN_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CHUNK_BYTES = 1 << 20


class ContentHashes:
    """Hashes of local files. path: of the file in which they are kept, where `keeps` says so; a file whose size, time and inode are
    the same is not read again."""

    def __init__(self, path: str, keeps: bool = True) -> None:
        self._path, self.keeps = path, keeps
        self._known: dict[str, list[Any]] = {}
        self._is_changed = False
        filesystem, name = open_file_system(path)
        if filesystem.isfile(name):
            try:
                found = json.loads(bytes(filesystem.cat_file(name)))
                self._known = found if isinstance(found, dict) else {}
            except ValueError:
                # It is a memory of what can be found out again.
                self._known = {}

    def of_file(self, path: str) -> str:
        """The sha256 of a local file, hexadecimal."""
        name, info = os.path.abspath(path), os.stat(path)
        mark = [info.st_size, info.st_mtime_ns, info.st_ino]
        known = self._known.get(name)
        if not (isinstance(known, list) and len(known) == 2 and known[0] == mark):
            digest = hashlib.sha256()
            with open(name, "rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
            self._known[name] = known = [mark, digest.hexdigest()]
            self._is_changed = True
        return str(known[1])

    def save(self) -> None:
        if self._is_changed and self.keeps:
            write_text(self._path, json.dumps(self._known))
            self._is_changed = False


def content_of(value: str, hashes: ContentHashes) -> list[str] | None:
    """The hashes of all files that a path, a glob, a folder or a URL names, sorted; None where it names none, as the name of a
    built-in preset. A dataset is known by the hash in its manifest, a file of a store by the size and the mark that the store gives."""
    if is_url(value):
        return _content_of_url(value)
    if os.path.isfile(value):
        return [hashes.of_file(value)]
    if os.path.isdir(value):
        sha256 = sha256_of_dataset(value)
        if sha256 is not None:
            return [sha256]
        # Of a folder as a whole its files' names count too.
        return sorted(f"{os.path.relpath(name, value)} {hashes.of_file(name)}" for name in _files_in(value))
    if any(sign in value for sign in "*?["):
        filesystem, path = open_file_system(value)
        return sorted(hashes.of_file(str(name)) for name in filesystem.glob(path) if os.path.isfile(name)) or None
    return None


def names_something(value: str) -> bool:
    """Whether there is something at a path, a glob, a folder or a URL."""
    filesystem, path = open_file_system(value)
    return bool(filesystem.glob(path)) if any(sign in path for sign in "*?[") else bool(filesystem.exists(path))


def _files_in(root: str) -> Iterator[str]:
    """The files in a folder, without hidden ones, what Python compiles, and folders in it that a command of ours filled: what is
    written there is no input."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_read(name) and not _is_ours(os.path.join(folder, name))]
        yield from (path for name in names if _is_read(name) and os.path.isfile(path := os.path.join(folder, name)))


def _is_read(name: str) -> bool:
    return not name.startswith(".") and name != "__pycache__"


def _is_ours(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, OWNED_FILE))


def sha256_of_dataset(folder: str) -> str | None:
    """What the manifest of a dataset says of all its shards; None where there is none."""
    filesystem, path = open_file_system(f"{folder.rstrip('/')}/{_MANIFEST}")
    if not filesystem.isfile(path):
        return None
    try:
        found = json.loads(bytes(filesystem.cat_file(path)))["dataset_sha256"]
    except (ValueError, KeyError, TypeError):
        # A damaged one: the command that reads it says so.
        return None
    return found if isinstance(found, str) else None


def _content_of_url(value: str) -> list[str] | None:
    if value.startswith(("hf://", "kaggle://")):
        return None
    filesystem, path = open_file_system(value)
    if any(sign in path for sign in "*?["):
        found = filesystem.glob(path, detail=True)
    elif filesystem.isdir(path):
        sha256 = sha256_of_dataset(value)
        if sha256 is not None:
            return [sha256]
        found = filesystem.find(path, detail=True)
    elif filesystem.exists(path):
        found = {path: filesystem.info(path)}
    else:
        return None
    return sorted(mark_of(info) for info in found.values() if info.get("type") != "directory") or None


def mark_of(info: Mapping[str, Any]) -> str:
    """What a store says of a file that is another when its content is: its size, and its hash, tag or time."""
    marks = (info.get(key) for key in ("md5Hash", "crc32c", "etag", "ETag", "mtime", "updated", "created"))
    return f"{info.get('size')} {next((str(mark) for mark in marks if mark), '')}".strip()


def own_code_of(block: Any, hashes: ContentHashes) -> dict[str, str]:
    """Name -> hash of the file of every function of the user's own (module:function) that a block names. Only the folder of the
    command is looked at; a module that is installed is known by its name."""
    found = {}
    for text in texts_in(block):
        if _OWN_CODE.fullmatch(text):
            path = Path(*text.partition(":")[0].split(".")).with_suffix(".py")
            if path.is_file():
                found[text] = hashes.of_file(str(path))
            elif (spec := _spec(text.partition(":")[0])) is not None and spec.origin and os.path.isfile(spec.origin):
                found[text] = hashes.of_file(spec.origin)
    return found


def _spec(module: str) -> Any:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
