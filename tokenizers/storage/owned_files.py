"""Which files of a folder are ours: what a command wrote there stands in a file beside it; all else is somebody's.

A command replaces and removes only what this file says, and is refused, before it begins, where anything else is in its
way. The file is written before the first of the others, so what a killed command left is ours too.
"""

import json
import os
import posixpath
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, reason_of, write_bytes_whole

OWNED_FILE = ".clozekit-files.json"
# Nobody else gives such names, and no two of our own are alike.
_TEMPORARY = re.compile(r".+\.[0-9a-f]{16}\.clozekit-tmp")
_NAMES_SHOWN = 3
_REQUESTS_AT_ONCE = 32


@dataclass(frozen=True)
class Owned:
    """What a command wrote into a folder: which command, paths in the folder, ids that stand in the names of files that
    were not known before."""

    made_by: str
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


def new_id() -> str:
    """16 hexadecimal digits that nobody has used."""
    return secrets.token_hex(8)


def is_temporary(name: str) -> bool:
    return any(_TEMPORARY.fullmatch(part) for part in name.split("/"))


def read_owned(directory: str | Path) -> Owned | None:
    """What is ours in a folder, at a path or URL; None where no command of ours has said so, or it can't be read."""
    path = posixpath.join(str(directory), OWNED_FILE)
    filesystem, name = open_file_system(path)
    if not filesystem.isfile(name):
        return None
    try:
        content = json.loads(bytes(filesystem.cat_file(name)))
        owned = Owned(content["made_by"], frozenset(content["files"]), frozenset(content["ids"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_whole = isinstance(owned.made_by, str) and all(isinstance(one, str) for one in (*owned.names, *owned.ids))
    return owned if is_whole else None


def owned_to_json(owned: Owned) -> bytes:
    content = {"made_by": owned.made_by, "files": sorted(owned.names), "ids": sorted(owned.ids)}
    return (json.dumps(content, indent=1) + "\n").encode()


def write_owned(directory: str | Path, owned: Owned) -> None:
    write_bytes_whole(posixpath.join(str(directory), OWNED_FILE), owned_to_json(owned))


def add_owned(directory: str | Path, names: Iterable[str]) -> None:
    """Notes further files in a folder that has a list of ours; one without stays without."""
    owned = read_owned(directory)
    if owned is not None:
        write_owned(directory, Owned(owned.made_by, owned.names | set(names), owned.ids))


def list_files(directory: str | Path) -> list[str]:
    """Paths in the folder of everything below it that is no folder, sorted; links are not followed. None when the folder
    does not exist."""
    filesystem, root = open_file_system(str(directory))
    if not is_local(filesystem):
        if not filesystem.exists(root):
            # A bucket that is not there is told of by whoever writes.
            return []
        found = (str(name).removeprefix(f"{root.rstrip('/')}/") for name in filesystem.find(root))
        return sorted(name for name in found if name and not name.endswith("/"))

    def refuse(error: OSError) -> None:
        raise InputError(
            f"what is in an output folder must be seen before anything is written, {error.filename} can't be read"
            f" ({reason_of(error)}); fix its permissions, or choose another folder"
        )

    listed: list[str] = []
    if os.path.isdir(root):
        for folder, folders, names in os.walk(root, onerror=refuse):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            folders[:] = [name for name in folders if name not in links]
            listed += [os.path.relpath(os.path.join(folder, name), root) for name in (*names, *links)]
    return sorted(listed)


def refuse_foreign(what: str, directory: str | Path, names: Collection[str], choose: str) -> None:
    """Raises InputError when there are `names`: files in the way that are not ours.

    what: begins the line ("a dataset"); choose: what to do else ("pass another --output").
    """
    if names:
        raise InputError(
            f"{what} goes into a folder of its own, {directory} holds what Clozekit did not write there:"
            f" {shown(names)}; move that away, or {choose}"
        )


def shown(names: Collection[str]) -> str:
    """The first names, as they can be printed, and how many more there are."""
    first = [name.encode("utf-8", "backslashreplace").decode() for name in sorted(names)[:_NAMES_SHOWN]]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")


def check_own_folder(
    what: str, directory: str | Path, is_ours: Callable[[str], bool], choose: str, parent: str | Path | None = None
) -> list[str]:
    """The paths in `directory` of all its files, every one of them ours. Raises InputError for a folder that holds
    anything else, that is a file, or that is a part of another output; `parent` may be one."""
    check_outside(what, directory, choose, parent)
    names = list_files(directory)
    foreign = [name for name in names if name != OWNED_FILE and not is_ours(name) and not is_temporary(name)]
    if OWNED_FILE in names and read_owned(directory) is None:
        foreign.append(OWNED_FILE)
    refuse_foreign(what, directory, foreign, choose)
    return names


# Outputs that others may stand in: a run holds its preset, the demo and `adapt` all of their own.
_HOLDERS = ("train", "finetune", "demo", "adapt", "submit", "run")


def check_outside(what: str, directory: str | Path, choose: str, allowed: str | Path | None = None) -> None:
    """Raises InputError when `directory` lies inside a folder that a command filled and calls its own, unless that is the
    one `allowed`, and where no folder can be made or written to."""
    filesystem, root = open_file_system(str(directory))
    if not is_local(filesystem):
        return
    check_writable(what, Path(os.path.abspath(root)), choose)
    for parent in Path(os.path.abspath(root)).parents:
        if allowed is not None and parent == Path(os.path.abspath(allowed)):
            continue
        if (parent / OWNED_FILE).is_file() and (owned := read_owned(parent)) and owned.made_by not in _HOLDERS:
            raise InputError(
                f"{what} goes beside other outputs, {directory} is inside of {parent}, which `clozekit {owned.made_by}`"
                f" wrote; {choose}"
            )


def check_writable(what: str, path: Path, choose: str) -> None:
    """Raises InputError where no folder `path` can be made or written to: before hours of work, not after them."""
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not os.path.isdir(there):
        raise InputError(f"{what} goes into a folder of its own, {there} is a file; {choose}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{what} goes where it may be written, {there} is read-only for this user; {choose}")


def _has_file(directory: str | Path, name: str) -> bool:
    filesystem, path = open_file_system(posixpath.join(str(directory), name))
    return bool(filesystem.exists(path))


def in_the_way(directory: str | Path, names: Iterable[str], owned: Owned | None) -> list[str]:
    """Which of the files that will be written into `directory` are there already and not ours; the list of ours too."""
    ours = frozenset() if owned is None else owned.names
    written = [*names, *([OWNED_FILE] if read_owned(directory) is None else [])]
    return [name for name in written if name not in ours and _has_file(directory, name)]


def check_free(what: str, directory: str | Path, names: Collection[str], choose: str) -> None:
    """Raises InputError where files can't be written into `directory` under these names: it is a part of another output, or holds
    one of them that is somebody's. what, choose: as of `refuse_foreign`."""
    check_outside(what, directory, choose)
    # What is there is looked at before the list of what is ours: other processes may be making both now.
    there = in_the_way(directory, names, None)
    owned = read_owned(directory)
    ours = () if owned is None else (*owned.names, OWNED_FILE)
    refuse_foreign(what, directory, [name for name in there if name not in ours], choose)


def remove_files(directory: str | Path, names: Iterable[str]) -> None:
    """Removes files by their paths in the folder, in no order, and the folders inside of a local one that hold nothing then."""
    filesystem, root = open_file_system(str(directory))
    root, names, remove = root.rstrip("/"), list(names), os.unlink if is_local(filesystem) else filesystem.rm_file

    def remove_one(name: str) -> None:
        with suppress(FileNotFoundError):
            remove(f"{root}/{name}")

    # Each waits for a store or a disk, and a dataset may have a hundred thousand shards. (A disk that is told of all it need
    # not keep, ext4 with `discard`, took 2 ms a file, one after the other.)
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        list(pool.map(remove_one, names))
    if is_local(filesystem):
        emptied = {parent for folder in {posixpath.dirname(name) for name in names} for parent in _parents(folder)}
        for folder in sorted(emptied, key=len, reverse=True):
            remove_if_empty(f"{root}/{folder}")


def _parents(folder: str) -> list[str]:
    """A folder and those above it, as paths in the folder that they are all inside of."""
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]


def remove_if_empty(folder: str | Path) -> None:
    """Removes a local folder that holds nothing; what holds something stays."""
    with suppress(OSError):
        os.rmdir(folder)
