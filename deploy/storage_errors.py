"""What a store of objects says when it refuses, as one line."""

import errno
import json
import os
import re

from clozekit.tokenizers.storage.file_systems import reason_of

# The clients of stores share no class of errors, but these are where theirs come from.
_CLIENTS = ("gcsfs", "google.auth", "google.api_core", "google.cloud", "aiohttp", "botocore", "s3fs", "adlfs")
# TensorFlow's own client puts the answer of the server into its message.
_TENSORFLOW = re.compile(r"HTTP response code (\d+) with body '(.*?)'\s*(when .*)?$", re.DOTALL)


def refusal(error: BaseException) -> str | None:
    """One line for an error that a store's client raised; None for another error."""
    module = type(error).__module__
    if module.startswith("tensorflow."):
        found = _TENSORFLOW.search(str(error))
        if found is None:
            return _refused_by_disk(str(error))
        status, body, doing = found[1], found[2], found[3] or ""
        return f"the storage refused ({status}, {_message(body)}) {' '.join(doing.split())}; {_WAYS_OUT.get(status, _AGAIN)}"
    # A worker process that was killed is no store.
    is_bare = isinstance(error, OSError) and error.errno is None and not isinstance(error, ChildProcessError)
    if module.startswith(_CLIENTS) or is_bare:
        return f"the storage refused: {reason_of(error)}"
    return None


def _refused_by_disk(text: str) -> str | None:
    """Path and reason of a message such as "{{function_node ...}} /run/x.tmp; No space left on device [Op:SaveV2]"."""
    found = _DISK.search(text)
    return None if found is None else f"[Errno {_REASONS[found[2]]}] {found[2]}: {found[1]!r}"


# What a disk says to a write, as the system words it.
_REASONS = {
    os.strerror(number): number
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EFBIG,
        errno.EIO,
        errno.ENOTDIR,
    )
}
_DISK = re.compile(rf"(\S+); ({'|'.join(map(re.escape, _REASONS))})")
_AGAIN = "try again"
_WAYS_OUT = {
    "401": "run `gcloud auth application-default login`, or name a service account's file in"
    " GOOGLE_APPLICATION_CREDENTIALS",
    "403": "ask for the role Storage Object User on the bucket",
    "404": "check the name of the bucket",
}


def _message(body: str) -> str:
    """What Google's storage says in its JSON, else the text as it is."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.split())[:200]
