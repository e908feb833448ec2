"""Writing a file only where it is as it was seen before: what keeps two builds of one output apart.

Google's storage numbers the generations of an object and compares them itself; on a local disk a new file is linked to
its name, which only one can do, and an old one is compared just before it is replaced. Other stores are compared too, so
there two builds that end within the same moment are not told apart.
"""

import os

from clozekit.tokenizers.storage.file_systems import is_local, open_file_system, path_named, temporary_name


class ChangedMeanwhileError(Exception):
    """The file is not what was seen, and not what was to be written either."""


def version_of(path: str) -> str | None:
    """What changes whenever a file is written; None when there is no file."""
    filesystem, name = open_file_system(path)
    if is_local(filesystem):
        try:
            status = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
    try:
        described = filesystem.info(name)
    except FileNotFoundError:
        return None
    keys = ("generation", "etag", "ETag", "mtime", "LastModified", "created")
    return " ".join(str(described[key]) for key in keys if key in described)


def write_if_unchanged(path: str, content: bytes, seen: str | None) -> None:
    """Writes a file whose `version_of` is still `seen`. Raises ChangedMeanwhileError when somebody else has written
    something else there; nothing happens when it is the same."""
    filesystem, name = open_file_system(path)
    try:
        if is_local(filesystem):
            _write_local(name, content, seen)
        elif path.startswith(("gs://", "gcs://")):
            _write_generation(path, content, seen)
        elif version_of(path) == seen:
            filesystem.pipe_file(name, content)
        else:
            raise FileExistsError(path)
    except FileExistsError as error:
        # A request that is sent again after its answer was lost finds its own work.
        if bytes(filesystem.cat_file(name)) != content:
            raise ChangedMeanwhileError(path) from error


def _write_local(name: str, content: bytes, seen: str | None) -> None:
    os.makedirs(os.path.dirname(name), exist_ok=True)
    temporary = temporary_name(name)
    try:
        with path_named(name), open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if seen is None:
            _link(temporary, name)
        elif version_of(name) == seen:
            os.replace(temporary, name)
        else:
            raise FileExistsError(name)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _link(temporary: str, name: str) -> None:
    try:
        os.link(temporary, name)
    except FileExistsError:
        raise
    except OSError as error:
        # Some file systems (exFAT, some mounts of stores) have no links.
        if os.path.exists(name):
            raise FileExistsError(name) from error
        os.replace(temporary, name)


def _write_generation(path: str, content: bytes, seen: str | None) -> None:
    # Only where it is needed: its import takes a second.
    from google.api_core.exceptions import PreconditionFailed
    from google.cloud import storage

    bucket, _, name = path.split("://", 1)[1].partition("/")
    blob = storage.Client(project=None).bucket(bucket).blob(name)
    generation = 0 if seen is None else int(seen.split()[0])
    try:
        blob.upload_from_string(content, "application/octet-stream", if_generation_match=generation)
    except PreconditionFailed as error:
        raise FileExistsError(path) from error
