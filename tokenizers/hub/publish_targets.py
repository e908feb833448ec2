"""Where a preset is published: a repository at Hugging Face, a variation at Kaggle, or a URL; each is looked at first."""

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.preset_files import relative_names
from clozekit.tokenizers.hub.preset_upload import MARKER_FILE, is_of_preset, upload_directory
from clozekit.tokenizers.storage.download_errors import ABSENT, NO_NETWORK, client_library, kind_of, named_upload_errors
from clozekit.tokenizers.storage.file_systems import open_file_system
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, Owned, owned_to_json, read_owned, shown
from clozekit.tokenizers.storage.replaced_folders import check_replaceable

CARD_FILE = "README.md"
# Ours -> Kaggle's names of licenses that are known to be the same.
_KAGGLE_LICENSES = {"apache-2.0": "Apache 2.0", "mit": "MIT"}


@dataclass(frozen=True)
class Standing:
    """What stands at a target. names: files; owned: what `publish` noted there of its own; card: the bytes of its README.md;
    commit: of what this tells; is_public: whether everybody may read it."""

    names: frozenset[str] = frozenset()
    owned: Owned | None = None
    card: bytes | None = None
    commit: str | None = None
    is_public: bool = False

    @property
    def has_foreign_card(self) -> bool:
        """Whether somebody else wrote the card there, or changed ours."""
        known = self.owned.ids if self.owned is not None else frozenset[str]()
        return self.card is not None and sha256(self.card) not in known

    def foreign(self, names: Collection[str]) -> list[str]:
        """Files of presets there that are not ours; names: what would be written. The card is asked about by itself."""
        ours = self.owned.names if self.owned is not None else frozenset[str]()
        others = self.names - ours - {CARD_FILE, OWNED_FILE}
        return sorted(name for name in others if name in names or is_of_preset(name))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class PublishTarget(ABC):
    """A place that presets are published at. uri: as it was named."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def look(self) -> Standing:
        """What stands there, before anything is sent. Raises InputError where nothing may be written: no login, no network."""

    @abstractmethod
    def send(self, local: Path, standing: Standing, message: str, private: bool, own_card: bool) -> None:
        """Sends the preset in `local` with its card; standing: what `look` found; own_card: the card is ours."""

    def _owned(self, local: Path, own_card: bool) -> Owned:
        ids = frozenset({sha256((local / CARD_FILE).read_bytes())} if own_card else ())
        return Owned("publish", frozenset(_names(local)), ids)


class HuggingFaceTarget(PublishTarget):
    """`hf://owner/model`, through huggingface_hub: all of it in one commit on what was looked at."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._repository = uri.removeprefix("hf://")
        if len([part for part in self._repository.split("/") if part]) != 2 or "@" in self._repository:
            raise InputError(f"a preset is published at hf://owner/model, got {uri!r}; correct it")

    def _api(self) -> Any:
        return client_library("huggingface", "hf://").HfApi(library_name="clozekit")

    def look(self) -> Standing:
        api = self._api()
        try:
            user = api.whoami()
        except Exception as error:
            if kind_of(error) == NO_NETWORK:
                with named_upload_errors(self.uri):
                    raise
            raise InputError(
                f"publishing at {self.uri} needs a login, there is none that Hugging Face knows; run `hf auth login`, or"
                " set HF_TOKEN to a token that may write"
            ) from error
        if _role(user) == "read":
            raise InputError(
                f"publishing at {self.uri} needs a token that may write, that of {user.get('name')} may read alone; make one"
                " at huggingface.co/settings/tokens and run `hf auth login`"
            )
        with named_upload_errors(self.uri):
            try:
                info = api.model_info(self._repository)
            except Exception as error:
                if kind_of(error) == ABSENT:
                    return Standing()
                raise
            names = frozenset(sibling.rfilename for sibling in info.siblings or [])
            with tempfile.TemporaryDirectory() as folder:
                noted = self._read(api, OWNED_FILE, str(info.sha), folder) if OWNED_FILE in names else None
                owned = None if noted is None else read_owned(folder)
                card = self._read(api, CARD_FILE, str(info.sha), folder) if CARD_FILE in names else None
        return Standing(names, owned, card, str(info.sha), is_public=not info.private)

    def _read(self, api: Any, name: str, commit: str, folder: str) -> bytes:
        return Path(api.hf_hub_download(self._repository, name, revision=commit, local_dir=folder)).read_bytes()

    def send(self, local: Path, standing: Standing, message: str, private: bool, own_card: bool) -> None:
        api, client = self._api(), client_library("huggingface", "hf://")
        owned = self._owned(local, own_card)
        before = frozenset() if standing.owned is None else standing.owned.names
        changes = [client.CommitOperationAdd(name, str(local / name)) for name in sorted(owned.names)]
        changes.append(client.CommitOperationAdd(OWNED_FILE, owned_to_json(owned)))
        changes += [client.CommitOperationDelete(name) for name in sorted((before - owned.names) & standing.names)]
        with named_upload_errors(self.uri):
            if standing.commit is None:
                api.create_repo(self._repository, private=private, exist_ok=True)
            # One commit: nobody sees half of it, and what somebody changed meanwhile is not written over.
            api.create_commit(
                self._repository, changes, commit_message=message, parent_commit=standing.commit, repo_type="model"
            )


def _role(user: Any) -> str | None:
    token = (user.get("auth") or {}).get("accessToken") if isinstance(user, dict) else None
    return token.get("role") if isinstance(token, dict) else None


class KaggleTarget(PublishTarget):
    """`kaggle://owner/model/keras/variation`, through kagglehub; each time is a new version, and the older ones stay."""

    def __init__(self, uri: str, license_id: str | None = None) -> None:
        super().__init__(uri)
        self._handle = uri.removeprefix("kaggle://")
        parts = self._handle.split("/")
        if len(parts) != 4 or not all(parts) or parts[2].lower() != "keras":
            raise InputError(
                f"a preset is published at kaggle://owner/model/keras/variation, got {uri!r}; Kaggle counts versions"
            )
        self._license = _KAGGLE_LICENSES.get(license_id or "")

    def look(self) -> Standing:
        client = client_library("kaggle", "kaggle://")
        try:
            client.whoami(verbose=False)
        except Exception as error:
            if kind_of(error) == NO_NETWORK:
                with named_upload_errors(self.uri):
                    raise
            raise InputError(
                f"publishing at {self.uri} needs a login, there is none that Kaggle knows; run `python -c 'import kagglehub;"
                " kagglehub.login()'`, or set KAGGLE_API_TOKEN"
            ) from error
        return Standing()

    def send(self, local: Path, standing: Standing, message: str, private: bool, own_card: bool) -> None:
        client = client_library("kaggle", "kaggle://")
        with named_upload_errors(self.uri):
            client.model_upload(
                self._handle,
                str(local),
                license_name=self._license,
                version_notes=message,
                ignore_patterns=[OWNED_FILE],
            )


class UrlTarget(PublishTarget):
    """A URL of fsspec, such as `gs://bucket/model`: a folder of our own there."""

    def look(self) -> Standing:
        with named_upload_errors(self.uri):
            check_replaceable("convert", "a preset", self.uri, "choose another URL")
            owned = read_owned(self.uri)
            file_system, root = open_file_system(self.uri.rstrip("/"))
            card = f"{root}/{CARD_FILE}"
            names = owned.names if owned is not None else frozenset[str]()
            found = bytes(file_system.cat_file(card)) if file_system.isfile(card) else None
        return Standing(names, owned, found)

    def send(self, local: Path, standing: Standing, message: str, private: bool, own_card: bool) -> None:
        upload_directory(local, self.uri, ids=self._owned(local, own_card).ids)


def _names(local: Path) -> list[str]:
    return [name for name in relative_names(local) if name != OWNED_FILE]


def publish_target(uri: str, license_id: str | None = None) -> PublishTarget:
    """The target of a handle or URL. Raises InputError for another."""
    scheme = uri.split("://", 1)[0] if "://" in uri else None
    if scheme == "hf":
        return HuggingFaceTarget(uri)
    if scheme == "kaggle":
        return KaggleTarget(uri, license_id)
    if scheme is None or scheme in ("file", "local"):
        raise InputError(
            f"a preset is published at hf://, kaggle:// or a URL such as gs://, got {uri!r}; `clozekit convert` writes folders"
        )
    return UrlTarget(uri)


def publish_directory(
    target: PublishTarget,
    local: Path,
    card: bytes,
    message: str,
    private: bool = False,
    replace: bool = False,
    keep_card: bool = False,
) -> bool:
    """Publishes the whole preset in `local` with its card, or nothing. Returns whether the card there is the one given.

    replace: what Clozekit did not publish there may go. keep_card: a card that is there and not ours stays. Raises InputError,
    before anything is sent, when a login is missing, the preset is not whole, or something that is not ours is in the way.
    """
    if MARKER_FILE not in relative_names(local):
        raise InputError(f"a preset to publish must hold {MARKER_FILE}, {local} does not; save one there first")
    standing = target.look()
    if private and standing.is_public:
        raise InputError(
            f"--private is for a new repository, {target.uri} is public already; make it private in its settings, or leave"
            " --private out"
        )
    names = [*_names(local), CARD_FILE]
    foreign = [] if replace else standing.foreign(names)
    if foreign:
        raise InputError(
            f"publishing replaces only what Clozekit published, {target.uri} holds {shown(foreign)} of somebody's; choose another"
            " name, or pass --replace"
        )
    keeps = keep_card and standing.has_foreign_card
    if standing.has_foreign_card and not keeps and not replace:
        raise InputError(
            f"the card at {target.uri} (README.md) was written or changed by somebody; pass --keep-card to leave it as it is,"
            " or --replace"
        )
    (local / CARD_FILE).write_bytes(standing.card if keeps and standing.card is not None else card)
    target.send(local, standing, message, private, own_card=not keeps)
    return not keeps
