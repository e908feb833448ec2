"""One run at a time writes into a directory and to a preset's place: a second one gets one line and changes nothing."""

import os
import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.directory_locks import LOCK_FILE, locked
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, reason_of
from clozekit.tokenizers.storage.leases import Lease


class RunLock:
    """What a run holds. `check` raises InputError when another run has taken a folder of a store over."""

    def __init__(self, leases: tuple[Lease, ...] = ()) -> None:
        self._leases = leases

    def check(self) -> None:
        for lease in self._leases:
            lease.check()


@contextmanager
def lock_run(directory: str, preset: str) -> Iterator[RunLock]:
    """Keeps every other run out of `directory`, and away from the place of `preset`.

    On a disk by a lock of the system (tokenizers/storage/directory_locks.py), in a store by a lease (tokenizers/storage/leases.py); both
    are files, for a preset beside it, which is replaced as a whole, and gone at the end. What TensorFlow alone can open
    (ram://) stays open. Raises InputError when another run has one of them, or a folder can't be written.
    """
    with ExitStack() as held:
        leases = [_held(held, directory, posixpath.join(directory, LOCK_FILE))]
        folder, name = posixpath.split(preset.rstrip("/"))
        leases.append(_held(held, preset, posixpath.join(folder, f".{name}.clozekit{LOCK_FILE}")))
        yield RunLock(tuple(lease for lease in leases if lease is not None))


def _held(held: ExitStack, place: str, path: str) -> Lease | None:
    """Takes the lock of a place, whose file is `path`; returns its lease, where it is one."""
    refusal = (
        f"one run at a time writes into a directory, another one is at work in {place}; wait for it, or choose another"
        " `directory` and `preset`"
    )
    try:
        filesystem, name = open_file_system(path)
    except InputError:
        return None
    if not is_local(filesystem):
        return held.enter_context(Lease(f"{path}.json", place, refusal))
    folder = os.path.dirname(name)
    try:
        held.enter_context(locked(name))
    except BlockingIOError as error:
        raise InputError(refusal) from error
    except OSError as error:
        raise InputError(
            f"a run writes into its directory and its preset's, {folder} can't be written"
            f" ({reason_of(error)}); choose another"
        ) from error
    return None
