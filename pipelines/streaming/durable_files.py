"""Durable files: on the disk before anything names them, whatever is cut off afterwards; and files that only one can make."""

import os

from clozekit.pipelines.storage.files import is_local, join
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, write_if_unchanged
from clozekit.tokenizers.storage.file_systems import is_url, open_file_system, write_bytes_whole


def check_store(directory: str) -> None:
    """Raises InputError unless a file can be made there so that of two that make it one fails: on a local disk by a link,
    in Google's storage by a precondition."""
    filesystem, _ = open_file_system(directory)
    if not is_local(filesystem) and not directory.startswith(("gs://", "gcs://")):
        raise InputError(
            "a stream needs a store where only one of two writers can make a file, a local disk or gs://, got"
            f" {directory}; pass another output"
        )


def make_folder(path: str) -> None:
    """A local folder that stays, with those above it; a store has none."""
    if is_url(path) and not is_local(open_file_system(path)[0]):
        return
    name = os.path.abspath(open_file_system(path)[1])
    missing = []
    while not os.path.isdir(name):
        missing.append(name)
        name = os.path.dirname(name)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        _sync_folder(os.path.dirname(folder))


def write_durably(directory: str, name: str, content: bytes) -> None:
    """Writes a file whose name says what it holds. What a killed writer left there is the same or is written again.

    Always written, even where it is there: in a store its time begins anew, by which what nobody names is removed.
    """
    path = join(directory, name)
    filesystem, local = open_file_system(path)
    if not is_local(filesystem):
        write_bytes_whole(path, content)
        return
    if not _holds(local, content):
        write_bytes_whole(path, content)
    _sync_folder(os.path.dirname(local))


def _holds(path: str, content: bytes) -> bool:
    """Whether a file is there, whole and safe: one that was renamed was synced before."""
    try:
        with open(path, "rb") as stream:
            return os.fstat(stream.fileno()).st_size == len(content) and stream.read() == content
    except FileNotFoundError:
        return False


def make_once(directory: str, name: str, content: bytes) -> bool:
    """Makes a file that is not there, and says whether it holds `content` now; False: somebody else made it before."""
    path = join(directory, name)
    filesystem, local = open_file_system(path)
    try:
        write_if_unchanged(path, content, None)
    except ChangedMeanwhileError:
        return False
    if is_local(filesystem):
        _sync_folder(os.path.dirname(local))
    return True


def _sync_folder(path: str) -> None:
    """A new name in a folder is on the disk when the folder is synced (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
