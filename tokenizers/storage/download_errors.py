"""Why a download or an upload failed, in one line with the way out."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import EXTRAS, require_extras

PATH_VARIABLE = "CLOZEKIT_PRESET_PATH"
ABSENT, REFUSED, NO_CREDENTIALS, NO_NETWORK, CHECKSUM, OTHER = (
    "absent",
    "refused",
    "no credentials",
    "no network",
    "checksum",
    "other",
)
# The clients (requests, httpx, aiohttp, botocore, google-auth) share no base classes, so their errors go by name.
_NO_NETWORK = {
    "ClientConnectorError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "EndpointConnectionError",
    "OfflineModeIsEnabled",
    "PoolTimeout",
    "ProxyError",
    "ReadTimeout",
    "ServerDisconnectedError",
    "TransportError",
    "gaierror",
}
_NO_CREDENTIALS = {
    "CredentialError",
    "DefaultCredentialsError",
    "LocalTokenNotFoundError",
    "NoCredentialsError",
    "RefreshError",
    "UnauthenticatedError",
}
_CHECKSUM = {"ChecksumError", "DataCorruptionError"}


class ChecksumError(OSError):
    """The bytes that arrived are not those that were promised."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of any of the clients carries, in itself or in what caused it."""
    for link in _chain(error):
        holders = (getattr(link, "response", None), link)
        for value in (getattr(holder, name, None) for holder in holders for name in ("status_code", "status", "code")):
            if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
                return int(value)
    return None


def kind_of(error: BaseException) -> str:
    """What went wrong: ABSENT, REFUSED, NO_CREDENTIALS, NO_NETWORK, CHECKSUM or OTHER."""
    links = list(_chain(error))
    names = {type(link).__name__ for link in links}
    if names & _CHECKSUM:
        return CHECKSUM
    status = status_of(error)
    if status == 404:
        return ABSENT
    if status in (401, 403):
        return REFUSED
    if names & _NO_CREDENTIALS:
        return NO_CREDENTIALS
    if names & _NO_NETWORK or any(isinstance(link, ConnectionError | TimeoutError) for link in links):
        return NO_NETWORK
    if isinstance(error, FileNotFoundError):
        return ABSENT
    if isinstance(error, PermissionError):
        return REFUSED
    return OTHER


def is_unreachable(error: BaseException) -> bool:
    """Whether the source itself could not be asked: no network, or a server that fails."""
    return kind_of(error) == NO_NETWORK or (status_of(error) or 0) >= 500


def cause_of(error: BaseException) -> str:
    """The cause in a few words."""
    first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    status = status_of(error)
    kind = kind_of(error)
    if kind == CHECKSUM:
        return f"the checksum of what arrived is wrong ({first_line})"
    if kind == ABSENT:
        return "there is no such file or preset (404)"
    if kind == REFUSED:
        return f"no permission ({status or first_line}): log in, accept the preset's terms, or correct the handle"
    if kind == NO_CREDENTIALS:
        return f"no credentials ({first_line})"
    if kind == NO_NETWORK:
        return f"no network to it ({type(error).__name__})"
    return f"{type(error).__name__}: {first_line}"


def download_error(source: str, name: str, error: BaseException, last_id: str) -> InputError:
    """The InputError of a download that failed."""
    return InputError(
        f"{name} of the preset {source} must be downloaded, it was not: {cause_of(error)}; try again, or copy the preset"
        f" to DIR/{last_id} and set {PATH_VARIABLE}=DIR"
    )


@contextmanager
def named_upload_errors(target: str) -> Iterator[None]:
    """Turns what a client raises while it writes to `target` into one InputError."""
    try:
        yield
    except InputError:
        raise
    # A client may raise anything; it goes on, with its cause in words.
    except Exception as error:
        raise InputError(f"the preset must be written to {target}, it was not: {cause_of(error)}; try again") from error


def client_library(extra: str, scheme: str) -> Any:
    """The client of a hub. Raises MissingExtraError when it is not there."""
    require_extras(f"a preset at {scheme}", extra)
    return importlib.import_module(EXTRAS[extra][0])
