"""A local folder that appears whole: filled under a temporary name, then put in the place of the one that was there."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clozekit.tokenizers.storage.file_systems import path_named, temporary_name
from clozekit.tokenizers.storage.owned_files import (
    OWNED_FILE,
    Owned,
    check_own_folder,
    list_files,
    read_owned,
    remove_files,
    remove_if_empty,
    write_owned,
)

_OLD = ".old"


def check_replaceable(made_by: str, what: str, target: str | Path, choose: str) -> None:
    """Raises InputError unless a folder (at a path or URL) is free, or holds nothing but what this command wrote: what others
    of Clozekit's wrote, such as a dataset, stays."""
    owned = read_owned(target)
    ours = owned.names if owned is not None and owned.made_by == made_by else frozenset[str]()
    check_own_folder(what, target, ours.__contains__, choose)


@contextmanager
def replaced_folder(
    target: Path, made_by: str, what: str, choose: str, may_hold: Callable[[str], bool]
) -> Iterator[Path]:
    """A new folder to fill; at the end it stands at `target`, and what of ours stood there goes. When the block raises,
    all stays as it was.

    may_hold: whether the block may write a file of that name; of what a killed command left, no others are removed.
    Raises InputError, before anything is written, where `target` holds what is not ours.
    """
    _finish_killed(target, may_hold)
    check_replaceable(made_by, what, target, choose)
    temporary = Path(temporary_name(str(target)))
    temporary.mkdir(parents=True)
    # Whoever finds a folder of this kind that nobody holds knows that its command was killed.
    descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        with path_named(target), _as_in(target, temporary):
            yield temporary
        write_owned(temporary, Owned(made_by, frozenset(list_files(temporary))))
        _swap(temporary, target, made_by, what, choose)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _swap(temporary: Path, target: Path, made_by: str, what: str, choose: str) -> None:
    # Somebody may have put a file there while the new folder was filled.
    check_replaceable(made_by, what, target, choose)
    old = temporary.with_name(temporary.name.removesuffix(".clozekit-tmp") + _OLD)
    if target.exists():
        target.rename(old)
    temporary.rename(target)
    _remove_ours(old)


def _remove_ours(folder: Path) -> None:
    owned = read_owned(folder)
    if owned is not None:
        left = [name for name in list_files(folder) if name not in owned.names and name != OWNED_FILE]
        # Its list goes last, so that a kill in between leaves a folder that is known.
        remove_files(folder, owned.names)
        if not left:
            remove_files(folder, [OWNED_FILE])
    remove_if_empty(folder)


@contextmanager
def _as_in(target: Path, temporary: Path) -> Iterator[None]:
    """Names the place that the user knows in what the system refuses to the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not str(error.filename).startswith(str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, f"{target}{str(error.filename)[len(str(temporary)) :]}") from error


def _lock(descriptor: int) -> bool:
    """Whether the folder is ours now; False where somebody has it or the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(folder: Path, may_hold: Callable[[str], bool]) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _lock(descriptor):
            remove_files(folder, [name for name in list_files(folder) if name == OWNED_FILE or may_hold(name)])
            remove_if_empty(folder)
    finally:
        os.close(descriptor)


def _finish_killed(target: Path, may_hold: Callable[[str], bool]) -> None:
    """Does what a command that was killed while it filled or replaced `target` did not come to."""
    parent = target.parent
    if not parent.is_dir():
        return
    prefix, names = f"{target.name}.", os.listdir(parent)
    for name in sorted(names):
        middle, _, kind = name.removeprefix(prefix).partition(".")
        is_ours = name.startswith(prefix) and len(middle) == 16 and set(middle) <= set("0123456789abcdef")
        if not is_ours or not (parent / name).is_dir():
            continue
        if kind == "old":
            if target.exists():
                _remove_ours(parent / name)
            elif read_owned(parent / name) is not None:
                (parent / name).rename(target)
        elif kind == "clozekit-tmp":
            _remove_abandoned(parent / name, may_hold)
