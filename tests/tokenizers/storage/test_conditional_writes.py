"""Files that are written only where they are as they were seen: on a disk, and in a store without generations."""

import os
from pathlib import Path

import fsspec
import pytest

from clozekit.pipelines.storage.files import list_names, read_bytes
from clozekit.tokenizers.storage.conditional_writes import ChangedMeanwhileError, version_of, write_if_unchanged
from clozekit.tokenizers.storage.file_systems import write_bytes_whole


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    fsspec.filesystem("memory").store.clear()
    return "memory://bucket/folder"


def test_a_file_is_written_where_nothing_or_what_was_seen_is(folder: str) -> None:
    path = f"{folder}/manifest.json"
    assert version_of(path) is None
    write_if_unchanged(path, b"first", None)
    seen = version_of(path)
    assert seen is not None
    write_if_unchanged(path, b"second", seen)
    assert read_bytes(path) == b"second"
    assert list_names(folder) == ["manifest.json"]


def test_a_file_that_another_has_written_stays(folder: str) -> None:
    path = f"{folder}/manifest.json"
    write_bytes_whole(path, b"of another")
    with pytest.raises(ChangedMeanwhileError, match=r"manifest\.json"):
        write_if_unchanged(path, b"ours", None)
    seen = version_of(path)
    write_bytes_whole(path, b"of a third one")
    with pytest.raises(ChangedMeanwhileError):
        write_if_unchanged(path, b"ours", seen)
    assert read_bytes(path) == b"of a third one"
    assert list_names(folder) == ["manifest.json"]
    # One's own work, found by a request that is sent again, is no loss.
    write_if_unchanged(path, b"of a third one", None)


def test_a_disk_without_links_takes_new_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = str(tmp_path / "manifest.json")
    write_if_unchanged(path, b"ours", None)
    with pytest.raises(ChangedMeanwhileError):
        write_if_unchanged(path, b"another", None)
    assert read_bytes(path) == b"ours"
