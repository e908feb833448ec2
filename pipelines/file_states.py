"""Whether files are still what they were: their states before a run, looked at again before anything is committed."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import is_local, open_file_system

State = tuple[Any, ...]


def states_of(paths: Iterable[str]) -> dict[str, State]:
    """Path or URL -> what changes when the file does; nothing (an empty state) for one that is gone."""
    return {path: _state(path) for path in paths}


def _state(path: str) -> State:
    filesystem, name = open_file_system(path)
    try:
        if is_local(filesystem):
            found = os.stat(name)
            return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns
        info = filesystem.info(name)
    except FileNotFoundError:
        return ()
    return tuple(str(info.get(key)) for key in ("size", "generation", "etag", "ETag", "mtime", "LastModified"))


def check_unchanged(before: Mapping[str, State], what: str = "an input") -> None:
    """Raises InputError naming the first file that is not as it was when `states_of` looked."""
    for path, state in sorted(before.items()):
        now = _state(path)
        if _is_same(state, now):
            continue
        how = (
            "is gone" if not now else f"has {now[0]} bytes after {state[0]}" if state[0] != now[0] else "was written to"
        )
        raise InputError(
            f"{what} must stay as it is while it is read, {path} {how} since the run began; nothing was written, run it"
            " again when the file is complete"
        )


def _is_same(before: State, now: State) -> bool:
    if len(before) != 4 or len(now) != 4:
        return before == now
    # Another file of the same size and time in its place has another number and was changed later. Either alone tells
    # nothing: some file systems number files anew, and permissions may be changed.
    return before[:2] == now[:2] and (before[2] == now[2] or before[3] == now[3])
