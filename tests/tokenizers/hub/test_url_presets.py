"""Presets at URLs: the cache and its checksums, resumed downloads, uploads; in memory and on a real storage server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import gcsfs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from storage_server import storage_server

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.hub.open_preset import open_preset
from clozekit.tokenizers.hub.preset_checksums import cache_directory
from clozekit.tokenizers.hub.preset_upload import upload_directory
from clozekit.tokenizers.storage.owned_files import OWNED_FILE
from clozekit.tokenizers.tokenizer import Tokenizer

WEIGHTS = bytes(range(256)) * 1000
FILES = {"config.json": b"{}", "assets/tokenizer/vocabulary.txt": b"a\n", "model.weights.h5": WEIGHTS}


class Recorded(MemoryFileSystem):
    """Memory, but it can be off the network, lose the connection, and tells what was read from where."""

    protocol = "recorded"
    cachable = False
    reads: list[tuple[str, int]] = []
    is_reachable = True
    breaks_after: int | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("recorded://"))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if not type(self).is_reachable:
            raise ConnectionError("off the network")
        return super().info(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        return _Reader(self.store[self._strip_protocol(path)].getvalue(), path.rsplit("/", 1)[-1], type(self))


class _Reader:
    def __init__(self, content: bytes, name: str, owner: type[Recorded]) -> None:
        self.content, self.name, self.owner, self.place, self.first = content, name, owner, 0, True

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, place: int) -> None:
        self.place = place

    def read(self, count: int) -> bytes:
        if self.first:
            self.owner.reads.append((self.name, self.place))
            self.first = False
        if self.owner.breaks_after is not None and self.place >= self.owner.breaks_after:
            raise ConnectionResetError("lost")
        piece = self.content[self.place : self.place + min(count, 100_000)]
        self.place += len(piece)
        return piece


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CLOZEKIT_CACHE", str(tmp_path / "cache"))
    fsspec.register_implementation("recorded", Recorded, clobber=True)
    monkeypatch.setattr(Recorded, "store", {})
    monkeypatch.setattr(Recorded, "pseudo_dirs", [""])
    for name, value in (("reads", []), ("is_reachable", True), ("breaks_after", None)):
        monkeypatch.setattr(Recorded, name, value)
    for name, content in FILES.items():
        Recorded().pipe_file(f"/bucket/preset/{name}", content)
    yield "recorded://bucket/preset"


def content_of(url: str, name: str) -> bytes:
    return open_preset(url).required_path(name).read_bytes()


def test_a_file_is_copied_once(url: str) -> None:
    assert open_preset(url).names() == sorted(FILES)
    assert [content_of(url, "model.weights.h5") for _ in range(2)] == [WEIGHTS, WEIGHTS]
    assert Recorded.reads == [("model.weights.h5", 0)]
    root = open_preset(url).local_directory()
    assert {name: (root / name).read_bytes() for name in FILES} == FILES
    assert [name for name, _ in Recorded.reads] == ["model.weights.h5", "vocabulary.txt", "config.json"]


def test_a_new_version_is_copied_again(url: str) -> None:
    content_of(url, "config.json")
    Recorded().pipe_file("/bucket/preset/config.json", b"[]")
    assert content_of(url, "config.json") == b"[]"


def test_a_damaged_copy_is_fetched_again_or_named(url: str) -> None:
    path = open_preset(url).required_path("model.weights.h5")
    path.write_bytes(b"x" + WEIGHTS[1:])
    assert content_of(url, "model.weights.h5") == WEIGHTS
    path.write_bytes(WEIGHTS[:-1])
    Recorded.is_reachable = False
    with pytest.raises(InputError, match=rf"{path} must have the checksum.*is damaged.*no network"):
        content_of(url, "model.weights.h5")


def test_without_a_network_the_copy_is_taken(url: str) -> None:
    content_of(url, "config.json")
    Recorded.is_reachable = False
    assert content_of(url, "config.json") == b"{}"
    with pytest.raises(
        InputError, match=r"model\.weights\.h5 of the preset recorded://bucket/preset .*no network.*DIR/preset"
    ):
        content_of(url, "model.weights.h5")


def test_a_copy_that_broke_off_is_continued(url: str) -> None:
    Recorded.breaks_after = 200_000
    with pytest.raises(
        InputError, match=r"model\.weights\.h5 of the preset recorded://bucket/preset must be downloaded"
    ):
        content_of(url, "model.weights.h5")
    Recorded.breaks_after = None
    assert content_of(url, "model.weights.h5") == WEIGHTS
    assert Recorded.reads == [("model.weights.h5", 0), ("model.weights.h5", 200_000)]


def test_a_copy_of_an_older_version_is_begun_anew(url: str) -> None:
    Recorded.breaks_after = 200_000
    with pytest.raises(InputError):
        content_of(url, "model.weights.h5")
    Recorded.breaks_after = None
    Recorded().pipe_file("/bucket/preset/model.weights.h5", WEIGHTS[::-1])
    assert content_of(url, "model.weights.h5") == WEIGHTS[::-1]
    assert Recorded.reads == [("model.weights.h5", 0), ("model.weights.h5", 0)]


@pytest.mark.parametrize(
    ("promised", "cause"),
    [
        ({"size": 3}, "2 bytes arrived instead of 3"),
        # crc32c as Google's storage tells it,.
        ({"size": 2, "crc32c": "AAAAAA=="}, "crc32c .* arrived instead of AAAAAA=="),
    ],
)
def test_what_arrives_otherwise_than_promised_is_refused(
    promised: dict[str, Any], cause: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorded, "info", lambda self, path: promised)
    with pytest.raises(InputError, match=f"the checksum of what arrived is wrong .{cause}"):
        content_of(url, "config.json")
    assert [path for path in cache_directory().rglob("config.json") if path.is_file()] == []


def test_a_cache_that_cannot_be_written_is_named(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("CLOZEKIT_CACHE", str(tmp_path / "a file"))
    with pytest.raises(InputError, match="the cache of presets must be writable.*set CLOZEKIT_CACHE"):
        content_of(url, "config.json")


def test_a_file_that_is_not_there(url: str) -> None:
    assert open_preset(url).path("task.json", required=False) is None
    with pytest.raises(InputError, match=r"task\.json of the preset recorded://bucket/preset .*\(404\)"):
        open_preset(url).path("task.json")
    with pytest.raises(InputError, match="a preset must hold files"):
        open_preset("recorded://bucket/nothing").local_directory()


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "ours" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ours" / name).write_bytes(content)
    return tmp_path / "ours"


def names_at(url: str) -> list[str]:
    return open_preset(url).names() or []


def test_an_upload_replaces_an_older_preset(
    url: str, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, place = tmp_path / "older", f"{url}-uploaded"
    for name in (*FILES, "task.json", "assets/tokenizer/merges.txt"):
        (older / name).parent.mkdir(parents=True, exist_ok=True)
        (older / name).write_bytes(b"old")
    upload_directory(older, place)
    assert names_at(place) == sorted([*FILES, "task.json", "assets/tokenizer/merges.txt", OWNED_FILE])
    order: list[str] = []
    put = Recorded.put_file
    monkeypatch.setattr(Recorded, "put_file", lambda self, local, there: (order.append(there), put(self, local, there)))
    removed: list[str] = []
    remove = Recorded.rm_file
    monkeypatch.setattr(Recorded, "rm_file", lambda self, path: (removed.append(path), remove(self, path)))
    upload_directory(preset, place)
    # The others go many at once, behind what makes it a preset.
    assert [path.rsplit("/", 1)[-1] for path in removed[:1]] == ["config.json"] and len(removed) == 3
    # Stale files of the preset go.
    assert names_at(place) == sorted([*FILES, OWNED_FILE])
    assert [path.rsplit("/", 1)[-1] for path in order] == ["vocabulary.txt", "model.weights.h5", "config.json"]
    # What is not of the preset stays, and keeps it from being replaced.
    Recorded().pipe_file("/bucket/preset-uploaded/NOTES.txt", b"notes")
    with pytest.raises(InputError, match=r"did not write there: NOTES\.txt"):
        upload_directory(older, place)
    assert names_at(place) == sorted([*FILES, OWNED_FILE, "NOTES.txt"])


def test_an_upload_that_breaks_off_leaves_no_preset(url: str, preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Recorded, local: str, there: str) -> None:
        raise ConnectionResetError("lost")

    place = f"{url}-uploaded"
    upload_directory(preset, place)
    with monkeypatch.context() as broken:
        broken.setattr(Recorded, "put_file", fail)
        with pytest.raises(
            InputError, match="the preset must be written to recorded://bucket/preset-uploaded, it was not"
        ):
            upload_directory(preset, place)
    assert "config.json" not in names_at(place)
    upload_directory(preset, place)
    assert names_at(place) == sorted([*FILES, OWNED_FILE])


def test_an_upload_never_goes_into_other_things(url: str, preset: Path) -> None:
    Recorded().pipe_file("/bucket/data/shard-0.tfrecord", b"data")
    with pytest.raises(InputError, match=r"holds what Clozekit did not write there: shard-0\.tfrecord"):
        upload_directory(preset, "recorded://bucket/data")
    (preset / "config.json").unlink()
    with pytest.raises(InputError, match=r"a preset must hold config\.json"):
        upload_directory(preset, url)


def test_an_upload_to_a_file_url(preset: Path, tmp_path: Path) -> None:
    upload_directory(preset, (tmp_path / "there" / "preset").as_uri())
    assert {name: (tmp_path / "there" / "preset" / name).read_bytes() for name in FILES} == FILES


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CLOZEKIT_CACHE", str(tmp_path / "cache"))
    # Without this gcsfs asks for a service that no emulator has, and waits a minute.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs.GCSFileSystem.clear_instance_cache()
    with storage_server() as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        gcsfs.GCSFileSystem(token="anon", project="ours").mkdir("presets")
        yield "gs://presets/ours"
        gcsfs.GCSFileSystem.clear_instance_cache()


def test_a_preset_on_google_storage(bucket: str, preset: Path, tokenizer: BertTokenizer) -> None:
    tokenizer.save(preset)
    upload_directory(preset, bucket)
    assert names_at(bucket) == sorted([*FILES, "tokenizer.json", OWNED_FILE])
    path = open_preset(bucket).required_path("model.weights.h5")
    assert path.read_bytes() == WEIGHTS
    assert Tokenizer.from_preset(bucket).sha256() == tokenizer.sha256()
    # A replacement, with fewer files.
    (preset / "model.weights.h5").write_bytes(b"new")
    (preset / "tokenizer.json").unlink()
    upload_directory(preset, bucket)
    assert names_at(bucket) == sorted([*FILES, OWNED_FILE])
    assert content_of(bucket, "model.weights.h5") == b"new"
    assert open_preset(bucket).path("tokenizer.json", required=False) is None
    with pytest.raises(InputError, match=r"config\.json of the preset gs://nothing/here .*\(404\)"):
        open_preset("gs://nothing/here").path("config.json")


def test_a_tokenizer_is_saved_to_google_storage(bucket: str, preset: Path, tokenizer: BertTokenizer) -> None:
    upload_directory(preset, bucket)
    tokenizer.save_to_preset(bucket)
    assert names_at(bucket) == sorted([*FILES, "tokenizer.json", OWNED_FILE])
    assert BertTokenizer.from_preset(bucket, sequence_length=4).sequence_length == 4
