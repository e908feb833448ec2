"""Files by path or URL: the file system behind one, texts, local copies of folders and local folders as copies there."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import require_extras
from clozekit.tokenizers.storage.download_errors import ABSENT, NO_CREDENTIALS, NO_NETWORK, cause_of, kind_of, status_of


def is_url(path: str | Path) -> bool:
    return "://" in str(path)


def open_file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL and the path in it. Raises InputError when the scheme has no file system
    here.

    It keeps no listings: they would hide what other processes have written since, such as the manifest of a build that
    ran on other machines.
    """
    options: dict[str, Any] = {"use_listings_cache": False} if is_url(url) else {}
    if url.startswith(("file://", "local://")):
        options = {"auto_mkdir": True}
    if url.startswith(("gs://", "gcs://")):
        require_extras("a path at gs://", "gcs")
    try:
        if not is_url(url):
            # fsspec would take "a::b.txt" for a file inside another.
            local = fsspec.filesystem("file")
            return local, str(local._strip_protocol(url))
        file_system, root = fsspec.core.url_to_fs(url, **options)
    # Its client may be missing (ImportError), look for credentials, or refuse the URL.
    except Exception as error:
        raise InputError(
            f"the scheme of {url} must be one that fsspec opens here, it does not: {cause_of(error)};"
            " install its client, or copy the files to a directory"
        ) from error
    return file_system, str(root)


def is_local(file_system: Any) -> bool:
    names = [file_system.protocol] if isinstance(file_system.protocol, str) else file_system.protocol
    return "file" in names


def temporary_name(path: str) -> str:
    """Where a file or folder is written before it gets its name: beside it, unique, and by its name ours."""
    return f"{path}.{secrets.token_hex(8)}.clozekit-tmp"


def reason_of(error: BaseException) -> str:
    """Why a disk or a store refused, in a few words with the way out."""
    text = " ".join(str(error).split())
    if getattr(error, "strerror", None):
        return str(error.strerror)  # type: ignore[attr-defined]
    if kind_of(error) == NO_CREDENTIALS or status_of(error) == 401:
        return (
            f"no credentials for it ({text[:200]}); run `gcloud auth application-default login`, or name a service"
            " account's file in GOOGLE_APPLICATION_CREDENTIALS"
        )
    if text.startswith("Forbidden") or status_of(error) == 403:
        return f"no permission ({text[:300]}); ask for the role Storage Object User on the bucket"
    if kind_of(error) == ABSENT:
        return "there is no such bucket or file; check the name"
    if kind_of(error) == NO_NETWORK:
        return f"no network to it ({type(error).__name__}: {text[:200]})"
    return f"{type(error).__name__}: {text[:300]}"


def read_text(path: str | Path) -> str:
    """A UTF-8 text, at a path or URL. Raises what the file system does, and UnicodeDecodeError."""
    if not is_url(path):
        return Path(path).read_text(encoding="utf-8")
    file_system, name = open_file_system(str(path))
    return bytes(file_system.cat_file(name)).decode("utf-8")


@contextmanager
def path_named(path: str | Path) -> Iterator[None]:
    """Names the path in what the system refuses to a write (a full disk), which does not; the reason is one line then."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def write_whole(path: str, write: Callable[[IO[bytes]], object]) -> None:
    """Calls `write` with a stream and shows the file under `path` only when it is complete.

    Local files are written under a temporary name, synced and renamed; object stores show an object when its upload
    ends and know no rename, so there the object is written under its own name.
    """
    file_system, name = open_file_system(path)
    if not is_local(file_system):
        with file_system.open(name, "wb") as stream:
            write(stream)
        return
    if os.path.exists(name) and not os.path.isfile(name):
        # A device such as /dev/stdout is written to, never replaced.
        with open(name, "wb") as stream:
            write(stream)
        return
    os.makedirs(os.path.dirname(name), exist_ok=True)
    temporary = temporary_name(name)
    try:
        with path_named(name), open(temporary, "xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, name)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_bytes_whole(path: str | Path, content: bytes) -> None:
    """Writes a file at a path or URL, whole or not at all."""
    write_whole(str(path), lambda stream: stream.write(content))


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text to a path or URL, whole or not at all."""
    write_bytes_whole(path, text.encode())


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """The files below a URL in a folder that goes at the end; an empty one when there are none."""
    file_system, root = open_file_system(url.rstrip("/"))
    with tempfile.TemporaryDirectory(prefix="clozekit-") as folder:
        for name in file_system.find(root):
            target = Path(folder) / str(name).removeprefix(f"{root.rstrip('/')}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            file_system.get_file(name, str(target))
        yield Path(folder)
