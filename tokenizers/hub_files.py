"""Presets at Kaggle and at Hugging Face: `kaggle://` and `hf://`, through the hubs' own clients."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from clozekit.tokenizers.download_errors import (
    ABSENT,
    REFUSED,
    ChecksumError,
    client_library,
    download_error,
    is_unreachable,
    kind_of,
)
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.preset_checksums import (
    cache_directory,
    locked,
    read_record,
    record_of,
    sha256_of,
    write_json,
    write_record,
)
from clozekit.tokenizers.preset_directory import PresetFiles, relative_names, root_of

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Weights of other frameworks, and pickles: never read here, so not worth gigabytes.
_NOT_READ = ["*.bin", "*.ckpt*", "*.h5.index", "*.mlmodel*", "*.msgpack", "*.onnx", "*.ot", "*.pkl", "*.pt", "*.pth"]
_NOT_READ += ["rust_model*", "tf_model*", "coreml/*", "onnx/*"]


class _HubFiles(PresetFiles):
    """What both hubs share. `last_id` is the part of the handle that names the preset."""

    def __init__(self, source: str, last_id: str) -> None:
        super().__init__(source)
        self._last_id = last_id

    @contextmanager
    def _named_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        # A client may raise anything; it goes on, with its cause in words.
        except Exception as error:
            raise download_error(self.source, name, error, self._last_id) from error

    def _verified(
        self, path: Path, record_path: Path, fetch_again: Callable[[], Path], is_promised: Callable[[Path], bool]
    ) -> Path:
        """`path`, when it holds the bytes that the hub promised and that were here before; else fetched again."""
        record = read_record(record_path)
        if record is None and is_promised(path):
            write_record(record_path, record_of(path))
            return path
        if record is not None and record.fits(path):
            return path
        _log.warning("%s of %s is damaged; it is fetched again", path, self.source)
        path = fetch_again()
        if not is_promised(path) or (record is not None and not record.fits(path)):
            expected = f" instead of {record.sha256}" if record is not None else ""
            raise ChecksumError(f"{path} has sha256 {sha256_of(path)}{expected}; its record is {record_path}")
        write_record(record_path, record_of(path))
        return path


class KaggleFiles(_HubFiles):
    """`kaggle://owner/model/framework/variation[/version]`, in kagglehub's cache.

    A handle without a version is the newest one, found out once: all files of this object are of one version.
    """

    def __init__(self, uri: str) -> None:
        parts = uri.removeprefix("kaggle://").split("/")
        if len(parts) not in (4, 5) or not all(parts) or (len(parts) == 5 and not parts[4].isdigit()):
            raise InputError(
                f"a Kaggle handle must be kaggle://owner/model/framework/variation or .../version, got {uri!r}; mend it"
            )
        super().__init__(uri, parts[3])
        self._handle = "/".join(parts)
        self._client = client_library("kagglehub", "kaggle", "kaggle://")

    def local_directory(self) -> Path:
        with self._named_errors("the snapshot"), self._locked():
            root = self._download(None)
            for name in relative_names(root):
                self._checked(root / name, name)
            return root

    def _fetch(self, name: str) -> Path | None:
        # Versions never change, so what one lacks it lacks for ever.
        absent = self._record_path(f"{name}.absent")
        if absent.is_file():
            return None
        try:
            with self._locked():
                return self._checked(self._download(name), name)
        except Exception as error:
            # Kaggle may refuse what isn't there; a preset that gives its config.json refuses nothing else.
            refused = kind_of(error) == REFUSED and name != "config.json" and self.path("config.json") is not None
            if kind_of(error) == ABSENT or refused:
                if self._version is not None:
                    write_json(self._record_path(f"{name}.absent"), {})
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


class HuggingFaceFiles(_HubFiles):
    """`hf://owner/model[@revision]`, in huggingface_hub's cache.

    The revision is resolved once to a commit and the list of its files: all files of this object are of one commit, and
    a file that the commit lacks costs no request.
    """

    def __init__(self, uri: str) -> None:
        self._repository, _, revision = uri.removeprefix("hf://").partition("@")
        if not re.fullmatch(r"[^/]+/[^/]+", self._repository):
            raise InputError(f"a Hugging Face handle must be hf://owner/model[@revision], got {uri!r}; mend it")
        super().__init__(uri, self._repository.split("/")[1])
        self._revision = revision or "main"
        self._client = client_library("huggingface_hub", "huggingface", "hf://")

    def names(self) -> list[str]:
        return self._commit_and_names[1]

    def local_directory(self) -> Path:
        commit, _ = self._commit_and_names
        with self._named_errors("the snapshot"):
            root = Path(self._client.snapshot_download(self._repository, revision=commit, ignore_patterns=_NOT_READ))
            for name in relative_names(root):
                self._checked(root / name, name)
            return root

    def _fetch(self, name: str) -> Path | None:
        if name not in self._commit_and_names[1]:
            return None
        with self._named_errors(name):
            return self._checked(self._download(name), name)

    @cached_property
    def _commit_and_names(self) -> tuple[str, list[str]]:
        record = self._records / f"{self._revision.replace('/', '--')}.revision"
        if _COMMIT.fullmatch(self._revision) and record.is_file():
            return self._read_listing(record)
        try:
            info = self._client.HfApi().model_info(self._repository, revision=self._revision)
        except Exception as error:
            if is_unreachable(error) and (kept := self._kept_listing(record)) is not None:
                _log.warning("Hugging Face can't be reached: the files of %s that are here are taken", self.source)
                return kept
            raise download_error(self.source, "the list of files", error, self._last_id) from error
        names = sorted(sibling.rfilename for sibling in info.siblings or [])
        write_json(record, {"commit": info.sha, "names": names})
        return str(info.sha), names

    def _read_listing(self, record: Path) -> tuple[str, list[str]]:
        content = json.loads(record.read_text(encoding="utf-8"))
        return content["commit"], content["names"]

    def _kept_listing(self, record: Path) -> tuple[str, list[str]] | None:
        if record.is_file():
            return self._read_listing(record)
        # Somebody else may have filled huggingface_hub's cache, before the machine went off the network.
        try:
            root = self._client.snapshot_download(self._repository, revision=self._revision, local_files_only=True)
        except self._client.errors.LocalEntryNotFoundError:
            return None
        return Path(root).name, relative_names(Path(root))

    @property
    def _records(self) -> Path:
        return cache_directory() / "huggingface" / self._repository

    def _download(self, name: str, again: bool = False) -> Path:
        commit, _ = self._commit_and_names
        return Path(
            self._client.hf_hub_download(
                self._repository, name, revision=commit, force_download=again, library_name="clozekit"
            )
        )

    def _checked(self, path: Path, name: str) -> Path:
        record_path = self._records / self._commit_and_names[0] / f"{name}.json"
        return self._verified(path, record_path, lambda: self._download(name, again=True), _is_as_named)


def _is_as_named(path: Path) -> bool:
    """Whether a file of huggingface_hub's cache has the checksum that names it there.

    The name is Hugging Face's ETag: the sha256 of a large file, the hash that git gives a small one.
    """
    if not path.is_symlink():
        return True
    target = path.readlink()
    if target.parent.name != "blobs":
        return True
    if re.fullmatch(r"[0-9a-f]{64}", target.name):
        return sha256_of(path) == target.name
    if _COMMIT.fullmatch(target.name):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == target.name
    return True
