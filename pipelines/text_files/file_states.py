"""Whether files are still what they were: their states before a run, looked at again before anything is committed."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, is_url, open_file_system

State = tuple[Any, ...]
# A store lists a folder in about as many requests.
_LISTED_FROM = 4


def states_of(paths: Iterable[str]) -> dict[str, State]:
    """Path or URL of a file -> what changes when the file does; an empty state for one that is gone."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    found: dict[str, State] = {}
    for folder, names in folders.items():
        if is_url(folder) and len(names) >= _LISTED_FROM:
            filesystem, name = open_file_system(folder)
            listed = {filesystem.unstrip_protocol(info["name"]): info for info in filesystem.ls(name, detail=True)}
            found.update({path: _state_in_store(listed.get(path)) for path in names})
        else:
            found.update({path: _state(path) for path in names})
    return found


def _state(path: str) -> State:
    filesystem, name = open_file_system(path)
    try:
        if not is_local(filesystem):
            return _state_in_store(filesystem.info(name))
        found = os.stat(name)
    except FileNotFoundError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def _state_in_store(info: Mapping[str, Any] | None) -> State:
    if info is None:
        return ()
    return tuple(
        str(info.get(key)) for key in ("size", "generation", "etag", "ETag", "mtime", "LastModified", "created")
    )


def check_unchanged(before: Mapping[str, State]) -> None:
    """Raises InputError naming the first file that is not as it was when `states_of` looked."""
    now = states_of(before)
    for path in sorted(before):
        old, new = before[path], now[path]
        if not _is_same(old, new):
            how = (
                "is gone"
                if not new
                else f"had {old[0]} bytes and has {new[0]}"
                if old[0] != new[0]
                else "was written to"
            )
            raise InputError(
                f"an input must stay as it is while it is read, {path} {how} since the run began; nothing was committed,"
                " run it again when the file is complete"
            )


def _is_same(before: State, now: State) -> bool:
    if len(before) != 4 or len(now) != 4:
        return before == now
    # Another file of the same size and time in its place has another number, and changed later. Either alone tells
    # nothing: some file systems number files anew, and permissions may be changed.
    return before[:2] == now[:2] and (before[2] == now[2] or before[3] == now[3])
