"""Presets at Kaggle: `kaggle://owner/model/framework/variation[/version]`, through kagglehub."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_checksums import cache_directory, locked, write_json
from clozekit.tokenizers.hub.preset_files import relative_names, root_of
from clozekit.tokenizers.hub.remote_files import RemoteFiles
from clozekit.tokenizers.storage.download_errors import (
    ABSENT,
    REFUSED,
    client_library,
    download_error,
    is_unreachable,
    kind_of,
)

_log = logging.getLogger(__name__)


class KaggleFiles(RemoteFiles):
    """`kaggle://owner/model/framework/variation[/version]`, in kagglehub's cache.

    A handle without a version is the newest one, found out once: all files of this object are of one version.
    """

    def __init__(self, uri: str) -> None:
        parts = uri.removeprefix("kaggle://").split("/")
        if len(parts) not in (4, 5) or not all(parts) or (len(parts) == 5 and not parts[4].isdigit()):
            raise InputError(
                f"a Kaggle handle must be kaggle://owner/model/framework/variation or .../version, got {uri!r}; correct it"
            )
        super().__init__(uri, parts[3])
        self._handle = "/".join(parts)
        self._client = client_library("kaggle", "kaggle://")

    def local_directory(self) -> Path:
        with self._named_errors("the snapshot"), self._locked():
            root = self._download(None)
            for name in relative_names(root):
                self._checked(root / name, name)
            return root

    def _fetch(self, name: str) -> Path | None:
        # Versions never change, so what one lacks it lacks for ever.
        absent = self._record_path(f"{name}.absent")
        if self._version is not None and absent.is_file():
            return None
        try:
            with self._locked():
                return self._checked(self._download(name), name)
        except InputError:
            raise
        except Exception as error:
            if (kind := kind_of(error)) in (ABSENT, REFUSED):
                # Who isn't logged in may be told either, and so may who asks for a file that isn't there. Only a preset
                # that gives its config.json is open to us: what it doesn't give, it lacks.
                is_open = name != "config.json" and self._fetch("config.json") is not None
                if is_open and self._version is not None:
                    write_json(self._record_path(f"{name}.absent"), {})
                if is_open or kind == ABSENT:
                    return None
            raise download_error(self.source, name, error, self._last_id) from error

    @property
    def _version(self) -> str | None:
        parts = self._handle.split("/")
        return parts[4] if len(parts) == 5 else None

    def _record_path(self, name: str) -> Path:
        return cache_directory() / "kaggle" / self._handle / f"{name}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # kagglehub itself lets two processes write into one file.
        with locked(cache_directory() / "kaggle" / "/".join(self._handle.split("/")[:4])):
            yield

    def _checked(self, path: Path, name: str) -> Path:
        if self._version is None:
            return path
        # kagglehub has compared the md5 that Kaggle sends.
        return self._verified(path, self._record_path(name), lambda: self._download(name, again=True), lambda _: True)

    def _download(self, name: str | None, again: bool = False) -> Path:
        try:
            path = Path(self._client.model_download(self._handle, name, force_download=again))
        except Exception as error:
            newest = self._newest_cached() if self._version is None and is_unreachable(error) else None
            if newest is None:
                raise
            _log.warning("Kaggle can't be reached: version %s of %s, which is here, is taken", newest, self.source)
            self._handle += f"/{newest}"
            return Path(self._client.model_download(self._handle, name))
        root = path if name is None else root_of(path, name)
        if self._version is None and root.name.isdigit():
            self._handle += f"/{root.name}"
        return path

    def _newest_cached(self) -> int | None:
        from kagglehub.config import get_cache_folder

        kept = (Path(get_cache_folder()) / "models" / self._handle).glob("*/")
        return max((int(path.name) for path in kept if path.name.isdigit()), default=None)
