"""Whether the stores behind URLs can be asked at all, found out once and first."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.download_errors import NO_NETWORK, cause_of, kind_of
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://[^/]+")
# What is downloaded from them says itself what went wrong, and may be here already; a page is asked for when it is read.
_ASKED_LATER = ("hf", "kaggle", "http", "https", "file", "local")
_GLOB = re.compile(r"[*?\[]")
# Stores that have answered this process.
_REACHED: set[str] = set()


class OutOfReachError(RuntimeError):
    """A store can't be asked; 69 is EX_UNAVAILABLE of sysexits.h, as of `submit`."""

    exit_status = 69


def urls_in(value: Any) -> Iterator[str]:
    """Every URL in a nested value, settings among them."""
    if isinstance(value, str):
        if _URL.match(value):
            yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from urls_in(getattr(value, one.name))
    elif isinstance(value, Mapping):
        yield from urls_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from urls_in(part)


def check_reachable(urls: Iterable[str]) -> None:
    """Asks each store one question, in a process once. A client tries for half a minute before it gives up, and whoever asks whether a file is there
    takes that for a no and asks the next question, so that a command would wait for minutes before its line.

    Raises OutOfReachError for one to which there is no network. What a store says besides is for whoever asks for more.

    Example:

        >>> from clozekit.tokenizers.storage.reachable import check_reachable, urls_in
        >>> check_reachable(urls_in({"inputs": ["memory://bucket/docs/*", "docs"], "output": "memory://bucket/dataset"}))
    """
    for url in urls:
        found = _URL.match(url)
        if found is None or found[0] in _REACHED or found[1] in _ASKED_LATER:
            continue
        try:
            filesystem, path = open_file_system(_GLOB.split(url)[0])
        except InputError:
            # Whoever opens it says so.
            continue
        if is_local(filesystem):
            continue
        try:
            # Of a file and not of the bucket, of which some clients ask twice.
            filesystem.info(path if "/" in path.strip("/") else f"{path.rstrip('/')}/clozekit")
        except Exception as error:
            if kind_of(error) == NO_NETWORK:
                raise OutOfReachError(
                    f"the store of {url} must be within reach, it is not: {cause_of(error)}; see to the network, and run the"
                    " same command again"
                ) from error
        _REACHED.add(found[0])
