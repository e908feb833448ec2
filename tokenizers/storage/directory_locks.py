"""Locks of local directories: one process at a time writes into one.

The system holds them for the process that took them (flock) and lets go when it ends, however it ends: no lock is stale.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import temporary_name
from clozekit.tokenizers.storage.owned_files import remove_if_empty

LOCK_FILE = "_lock"
_MARK = b"a lock of Clozekit's\n"


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Holds the lock of the file at `path`, which is there meanwhile, in a folder that is made where there is none. Raises
    BlockingIOError when somebody else has it."""
    folder = os.path.dirname(path) or "."
    with ExitStack() as held:
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            # Of a command that was refused before it wrote anything, nothing stays.
            held.callback(remove_if_empty, folder)
        descriptor = open_locked(path)
        try:
            yield
        finally:
            # Removed before it is let go: whoever opened this very file meanwhile sees that it is gone.
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(descriptor)


def open_locked(path: str) -> int:
    """A descriptor of the file at `path`, locked. Raises BlockingIOError when another process or thread has it, InputError
    when a file is there that is no lock of ours."""
    while True:
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            if not os.path.isdir(os.path.dirname(path) or "."):
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                if os.pread(descriptor, len(_MARK) + 1, 0) != _MARK:
                    os.close(descriptor)
                    raise _foreign(path)
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        # Its last owner removed it between the two lines: the next one is a new file.
        os.close(descriptor)


def _open(path: str) -> int:
    """Opens the file of a lock; one that is not there appears with its mark, so that ours are told from others."""
    if not os.path.lexists(path):
        new = temporary_name(path)
        with open(new, "xb") as stream:
            stream.write(_MARK)
        try:
            # An empty file of somebody's that comes in between is not replaced.
            os.link(new, path)
        except FileExistsError:
            pass
        except OSError:
            # Some file systems have no links.
            os.rename(new, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
        raise _foreign(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _foreign(path: str) -> InputError:
    return InputError(
        f"the lock of a folder is its file {os.path.basename(path)}, {path} is none that Clozekit wrote; move it away, or"
        " choose another folder"
    )
