"""Locks: one build at a time writes into a local directory, and what a killed one left in the temporary folder goes.

The system holds them for the process that took them (flock) and lets go when it ends, however it ends: no lock is stale.
Object stores have none; there shards are named by their content and nothing is shared but what is written last.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clozekit.pipelines.storage.files import is_local
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE, locked, open_locked
from clozekit.tokenizers.storage.file_systems import open_file_system

_OWNER_FILE = "owner"


@contextmanager
def lock_directories(directories: Iterable[str]) -> Iterator[None]:
    """Keeps every other build out of the directories while the block runs; those that are not local stay open.

    Raises InputError when another build has one of them. A directory that can't be written has no lock: whatever is there
    is read at most.
    """
    with ExitStack() as held:
        # In one order, so that of two builds with several directories one gets them all.
        for directory in sorted(set(directories)):
            filesystem, path = open_file_system(directory)
            if is_local(filesystem):
                held.enter_context(_lock_directory(path))
        yield


@contextmanager
def _lock_directory(directory: str) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(os.path.join(directory, LOCK_FILE)))
        except BlockingIOError as error:
            raise InputError(
                f"one build at a time writes into a directory, another one is at work in {directory}; wait for it, or pass"
                " another --output"
            ) from error
        except OSError:
            # It can't be written.
            pass
        yield


@contextmanager
def scratch_folder(name: str) -> Iterator[str]:
    """A new folder `clozekit-<name>-...` in the temporary folder while the block runs. Those of runs that were killed are
    removed first: nobody holds the lock of their owner."""
    prefix = f"clozekit-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_OWNER_FILE}"):
        _remove_ownerless(left)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        descriptor = open_locked(os.path.join(folder, "new"))
        try:
            # Under this name it is locked from the first moment on.
            os.rename(os.path.join(folder, "new"), os.path.join(folder, _OWNER_FILE))
            yield folder
        finally:
            os.close(descriptor)


def _remove_ownerless(owner: Path) -> None:
    try:
        descriptor = os.open(owner, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Gone meanwhile, or another user's.
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(owner.parent, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
