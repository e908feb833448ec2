"""Presets at Hugging Face: `hf://owner/model[@revision]`, through huggingface_hub."""

import hashlib
import logging
import re
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_checksums import cache_directory, sha256_of, write_json
from clozekit.tokenizers.hub.preset_files import relative_names, root_of
from clozekit.tokenizers.hub.remote_files import RemoteFiles
from clozekit.tokenizers.settings.json_files import read_object
from clozekit.tokenizers.storage.download_errors import client_library, download_error, is_unreachable

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Weights of other frameworks, and pickles: never read here, so not worth gigabytes.
_NOT_READ = ["*.bin", "*.ckpt*", "*.h5.index", "*.mlmodel*", "*.msgpack", "*.onnx", "*.ot", "*.pkl", "*.pt", "*.pth"]
_NOT_READ += ["rust_model*", "tf_model*", "coreml/*", "onnx/*"]


class HuggingFaceFiles(RemoteFiles):
    """`hf://owner/model[@revision]`, in huggingface_hub's cache.

    The revision is resolved once to a commit and the list of its files: all files of this object are of one commit, and
    a file that the commit lacks costs no request.
    """

    def __init__(self, uri: str) -> None:
        self._repository, _, revision = uri.removeprefix("hf://").partition("@")
        if not re.fullmatch(r"[^/]+/[^/]+", self._repository):
            raise InputError(f"a Hugging Face handle must be hf://owner/model[@revision], got {uri!r}; correct it")
        super().__init__(uri, self._repository.split("/")[1])
        self._revision = revision or "main"
        self._client = client_library("huggingface", "hf://")

    def names(self) -> list[str]:
        return self._commit_and_names[1]

    def local_directory(self) -> Path:
        names = [name for name in self.names() if not any(fnmatch(name, pattern) for pattern in _NOT_READ)]
        if not names:
            raise InputError(f"a preset must hold files, {self.source} holds none; check the handle")
        return [root_of(self.required_path(name), name) for name in names][0]

    def _fetch(self, name: str) -> Path | None:
        if name not in self._commit_and_names[1]:
            return None
        with self._named_errors(name):
            return self._checked(self._download(name), name)

    @cached_property
    def _commit_and_names(self) -> tuple[str, list[str]]:
        record = self._records / f"{self._revision.replace('/', '--')}.revision"
        if _COMMIT.fullmatch(self._revision) and (recorded := _read_listing(record)) is not None:
            return recorded
        try:
            info = self._client.HfApi().model_info(self._repository, revision=self._revision)
        except Exception as error:
            if is_unreachable(error) and (kept := self._kept_listing(record)) is not None:
                _log.warning("Hugging Face can't be reached: the files of %s that are here are taken", self.source)
                return kept
            raise download_error(self.source, "the list of files", error, self._last_id) from error
        if not _COMMIT.fullmatch(str(info.sha)):
            raise InputError(f"Hugging Face must name the commit of {self.source}, it says {info.sha!r:.80}; try again")
        names = sorted(sibling.rfilename for sibling in info.siblings or [])
        write_json(record, {"commit": info.sha, "names": names})
        return str(info.sha), names

    def _kept_listing(self, record: Path) -> tuple[str, list[str]] | None:
        if (recorded := _read_listing(record)) is not None:
            return recorded
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


def _read_listing(record: Path) -> tuple[str, list[str]] | None:
    """The commit and the names that a record in the cache holds; None when there is none, or a damaged one."""
    try:
        content = read_object(record)
    except InputError:
        return None
    commit, names = content.get("commit"), content.get("names")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(names, list):
        return None
    return (commit, names) if all(isinstance(name, str) for name in names) else None


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
