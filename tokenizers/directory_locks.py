"""Locks of local directories: one process at a time writes into one.

The system holds them for the process that took them (flock) and lets go when it ends, however it ends: no lock is stale.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOCK_FILE = "_lock"


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Holds the lock of the file at `path`, which is there meanwhile. Raises BlockingIOError when somebody else has it."""
    descriptor = open_locked(path)
    try:
        yield
    finally:
        # Removed before it is let go: whoever opened this very file meanwhile sees that it is gone.
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def open_locked(path: str) -> int:
    """A descriptor of the file at `path`, locked. Raises BlockingIOError when another process or thread has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        # Its last owner removed it between the two lines: the next one is a new file.
        os.close(descriptor)
