"""Presets at Kaggle and Hugging Face, through the hubs' real clients, against a stand-in on loopback."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_clients import output_of
from stand_in_hubs import COMMIT, Hub, serve

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.publish_targets import publish_directory, publish_target

WEIGHTS = bytes(range(256)) * 4096
FILES = {"config.json": b'{"a": 1}', "tokenizer.json": b"{}", "model.weights.h5": WEIGHTS}
URIS = {"hf": "hf://ours/preset", "kaggle": "kaggle://ours/bert/keras/preset/3"}
# A name that ends in "?" may be absent; "*" is the whole preset.
FETCH = """
import hashlib, json, sys
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import open_preset
try:
    files = open_preset(sys.argv[1])
    paths = [files.path(name.rstrip("?"), required="?" not in name) for name in sys.argv[2:] if name != "*"]
    if "*" in sys.argv:
        paths = sorted(path for path in files.local_directory().rglob("*") if path.is_file())
    found = [path and hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    print(json.dumps({"found": found, "paths": [str(path) for path in paths]}))
except InputError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub(dict(FILES))) as hub:
        yield hub


def environment(url: str, home: Path) -> dict[str, str]:
    # Kaggle's client has no setting for its address, so the stand-in is its proxy; Hugging Face's has.
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": str(home),
        "CLOZEKIT_CACHE": str(home / "cache"),
        "HF_ENDPOINT": url,
        "HF_HOME": str(home / "huggingface"),
        "HF_TOKEN": "a-token",
        "NO_PROXY": "127.0.0.1",
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLEHUB_CACHE": str(home / "kaggle"),
        "KAGGLE_USERNAME": "ours",
        "KAGGLE_KEY": "a-key",
        "HTTP_PROXY": url,
        "http_proxy": url,
    }


def run(script: str, url: str, home: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(output_of(script, environment(url, home), *arguments).splitlines()[-1])


def fetch(uri: str, hub: Hub, home: Path, *names: str) -> dict[str, Any]:
    return run(FETCH, hub.url, home, uri, *names)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def gets(hub: Hub) -> list[str]:
    """The files that were asked for since the last call, with the ranges."""
    asked = [request for request in hub.requests if request.startswith("GET ") and request != "GET the list"]
    hub.requests.clear()
    return asked


@pytest.mark.parametrize("scheme", URIS)
def test_a_file_is_downloaded_once(scheme: str, hub: Hub, tmp_path: Path) -> None:
    expected = [sha256(FILES["config.json"]), sha256(WEIGHTS)]
    assert fetch(URIS[scheme], hub, tmp_path, "config.json", "model.weights.h5")["found"] == expected
    assert gets(hub) == ["GET config.json", "GET model.weights.h5"]
    assert fetch(URIS[scheme], hub, tmp_path, "config.json", "model.weights.h5")["found"] == expected
    assert gets(hub) == []


@pytest.mark.parametrize("scheme", URIS)
def test_a_download_that_breaks_off_is_resumed(scheme: str, hub: Hub, tmp_path: Path) -> None:
    # huggingface_hub keeps what arrived in whole pieces of 10 MB.
    content = hub.files["model.weights.h5"] = WEIGHTS * 12
    hub.drops["model.weights.h5"] = 11_000_000
    first = fetch(URIS[scheme], hub, tmp_path, "model.weights.h5")
    # Hugging Face's client tries again by itself; Kaggle's when it is called again, and then asks twice.
    if scheme == "kaggle":
        assert URIS["kaggle"] in first["error"] and "model.weights.h5" in first["error"]
        first = fetch(URIS[scheme], hub, tmp_path, "model.weights.h5")
    assert first["found"] == [sha256(content)]
    asked = gets(hub)
    assert asked[0] == "GET model.weights.h5"
    continued = re.fullmatch(r"GET model.weights.h5 bytes=(\d+)-", asked[-1])
    assert continued is not None and 10_000_000 <= int(continued[1]) <= 11_000_000


@pytest.mark.parametrize("scheme", URIS)
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_damaged_bytes_are_refused(scheme: str, name: str, hub: Hub, tmp_path: Path) -> None:
    hub.damaged.add(name)
    error = fetch(URIS[scheme], hub, tmp_path, name)["error"]
    assert error.startswith(f"{name} of the preset {URIS[scheme]} must be downloaded, it was not: the checksum")
    assert "\n" not in error and "CLOZEKIT_PRESET_PATH=DIR" in error and "DIR/preset" in error
    hub.damaged.clear()
    assert fetch(URIS[scheme], hub, tmp_path, name)["found"] == [sha256(FILES[name])]


@pytest.mark.parametrize("scheme", URIS)
def test_a_cached_file_that_was_damaged_is_fetched_again(scheme: str, hub: Hub, tmp_path: Path) -> None:
    path = Path(fetch(URIS[scheme], hub, tmp_path, "model.weights.h5")["paths"][0])
    path.write_bytes(b"x" + WEIGHTS[1:])
    gets(hub)
    assert fetch(URIS[scheme], hub, tmp_path, "model.weights.h5")["found"] == [sha256(WEIGHTS)]
    assert gets(hub)[0] == "GET model.weights.h5"


@pytest.mark.parametrize("scheme", URIS)
@pytest.mark.parametrize(
    ("status", "cause"), [(404, "(404)"), (403, "no permission (403)"), (401, "no permission (401)")]
)
def test_the_status_of_a_preset_is_named(scheme: str, status: int, cause: str, hub: Hub, tmp_path: Path) -> None:
    hub.refused["/"] = status
    error = fetch(URIS[scheme], hub, tmp_path, "config.json")["error"]
    assert URIS[scheme] in error and cause in error and "CLOZEKIT_PRESET_PATH=DIR" in error and "\n" not in error
    # Nothing of it is remembered: a login may have been missing.
    hub.refused.clear()
    assert fetch(URIS[scheme], hub, tmp_path, "config.json")["found"] == [sha256(FILES["config.json"])]


@pytest.mark.parametrize("scheme", URIS)
def test_a_file_that_the_preset_lacks(scheme: str, hub: Hub, tmp_path: Path) -> None:
    expected = [sha256(FILES["config.json"]), None]
    assert fetch(URIS[scheme], hub, tmp_path, "config.json", "task.json?")["found"] == expected
    # That it lacks it is known from then on.
    hub.requests.clear()
    assert fetch(URIS[scheme], hub, tmp_path, "config.json", "task.json?")["found"] == expected
    assert [request for request in hub.requests if request != "GET the list"] == []
    error = fetch(URIS[scheme], hub, tmp_path, "task.json")["error"]
    assert error.startswith(f"task.json of the preset {URIS[scheme]} must be downloaded") and "(404)" in error


@pytest.mark.parametrize("scheme", URIS)
def test_without_a_network(scheme: str, tmp_path: Path) -> None:
    with serve(Hub(dict(FILES))) as hub:
        fetch(URIS[scheme], hub, tmp_path / "used", "config.json")
    # Its port is closed now. What was fetched is still here; anything else says why it isn't.
    assert fetch(URIS[scheme], hub, tmp_path / "used", "config.json")["found"] == [sha256(FILES["config.json"])]
    error = fetch(URIS[scheme], hub, tmp_path / "new", "config.json")["error"]
    assert URIS[scheme] in error and "no network" in error and "CLOZEKIT_PRESET_PATH=DIR" in error


def test_a_file_that_kaggle_refuses_is_one_that_an_open_preset_lacks(hub: Hub, tmp_path: Path) -> None:
    hub.refused["storage/task.json"] = 403
    assert fetch(URIS["kaggle"], hub, tmp_path, "task.json?")["found"] == [None]
    hub.refused["storage"] = 403
    error = fetch(URIS["kaggle"], hub, tmp_path / "new", "task.json?")["error"]
    assert "config.json" in error and "no permission (403)" in error


def test_kaggle_takes_the_newest_version_and_keeps_to_it(tmp_path: Path) -> None:
    with serve(Hub(dict(FILES), newest_version=7)) as hub:
        found = fetch("kaggle://ours/bert/keras/preset", hub, tmp_path, "config.json", "tokenizer.json")
        assert [Path(path).parent.name for path in found["paths"]] == ["7", "7"]
        assert hub.requests.count("POST GetModelInstance") == 1
    again = fetch("kaggle://ours/bert/keras/preset", hub, tmp_path, "config.json")
    assert again["found"] == [sha256(FILES["config.json"])]


def test_hugging_face_keeps_to_one_commit(hub: Hub, tmp_path: Path) -> None:
    found = fetch("hf://ours/preset@a-branch", hub, tmp_path, "config.json", "model.weights.h5")
    assert {Path(path).parent.name for path in found["paths"]} == {COMMIT}
    assert hub.requests.count("GET the list") == 1
    # A commit never changes: not even its list is asked for twice.
    fetch(f"hf://ours/preset@{COMMIT}", hub, tmp_path, "config.json")
    hub.requests.clear()
    fetch(f"hf://ours/preset@{COMMIT}", hub, tmp_path, "config.json")
    assert hub.requests == []


@pytest.mark.parametrize("scheme", URIS)
def test_the_whole_preset_as_a_directory(scheme: str, hub: Hub, tmp_path: Path) -> None:
    hub.files["pytorch_model.bin"] = b"never read"
    found = fetch(URIS[scheme], hub, tmp_path, "*")
    expected = [name for name in sorted(hub.files) if scheme == "kaggle" or name != "pytorch_model.bin"]
    assert [Path(path).name for path in found["paths"]] == expected
    assert found["found"] == [sha256(hub.files[name]) for name in expected]


PUBLISH = """
import json, sys
from pathlib import Path
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.publish_targets import publish_directory, publish_target
uri, local, card, options = sys.argv[1:]
try:
    print(json.dumps({"ours": publish_directory(publish_target(uri), Path(local), card.encode(), "a message", **json.loads(options))}))
except InputError as error:
    print(json.dumps({"error": str(error)}))
"""


def publish(uri: str, preset: Path, hub: Hub, home: Path, card: str = "A card.", **options: bool) -> dict[str, Any]:
    """card: of no file's name. What publishing returned, or its error."""
    return run(PUBLISH, hub.url, home, uri, str(preset), card, json.dumps(options))


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    directory = tmp_path / "ours"
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_bytes(content[:5000])
    return directory


@pytest.fixture
def new_hub() -> Iterator[Hub]:
    """No repository is there yet."""
    with serve(Hub({}, is_new=True)) as hub:
        yield hub


def test_publishing_at_hugging_face(preset: Path, new_hub: Hub, tmp_path: Path) -> None:
    assert publish("hf://ours/preset", preset, new_hub, tmp_path, private=True) == {"ours": True}
    (header, *_) = new_hub.uploads
    assert header["key"] == "header" and header["value"]["summary"] == "a message"
    assert new_hub.is_private
    noted = json.loads(new_hub.files.pop(".clozekit-files.json"))
    assert new_hub.files == {name: content[:5000] for name, content in FILES.items()} | {"README.md": b"A card."}
    assert noted["files"] == sorted(new_hub.files)


def test_publishing_again_replaces_what_was_published_and_removes_what_is_gone(
    preset: Path, new_hub: Hub, tmp_path: Path
) -> None:
    publish("hf://ours/preset", preset, new_hub, tmp_path)
    new_hub.files[".gitattributes"] = b"theirs"
    new_hub.files["notes.txt"] = b"of a colleague"
    (preset / "tokenizer.json").unlink()
    (preset / "config.json").write_bytes(b"{}")
    assert publish("hf://ours/preset", preset, new_hub, tmp_path, "Another card.") == {"ours": True}
    assert "tokenizer.json" not in new_hub.files
    assert new_hub.files["config.json"] == b"{}" and new_hub.files["README.md"] == b"Another card."
    assert new_hub.files["notes.txt"] == b"of a colleague" and new_hub.files[".gitattributes"] == b"theirs"
    assert [one["value"]["parentCommit"] for one in new_hub.uploads if "parentCommit" in one["value"]] == [COMMIT]


def test_a_card_that_somebody_changed_is_not_written_over(preset: Path, new_hub: Hub, tmp_path: Path) -> None:
    publish("hf://ours/preset", preset, new_hub, tmp_path)
    new_hub.files["README.md"] = b"What a colleague wrote."
    before = dict(new_hub.files)
    new_hub.uploads.clear()
    error = publish("hf://ours/preset", preset, new_hub, tmp_path, "New.")["error"]
    assert "README.md) was written or changed by somebody" in error and "--keep-card" in error and "\n" not in error
    assert new_hub.files == before and new_hub.uploads == []
    (preset / "config.json").write_bytes(b"{}")
    assert publish("hf://ours/preset", preset, new_hub, tmp_path, "New.", keep_card=True) == {"ours": False}
    assert new_hub.files["README.md"] == b"What a colleague wrote." and new_hub.files["config.json"] == b"{}"
    # It is still somebody else's.
    assert "was written or changed" in publish("hf://ours/preset", preset, new_hub, tmp_path, "New.")["error"]
    assert publish("hf://ours/preset", preset, new_hub, tmp_path, "New.", replace=True) == {"ours": True}
    assert new_hub.files["README.md"] == b"New."


def test_a_model_that_somebody_else_published_is_not_written_over(preset: Path, hub: Hub, tmp_path: Path) -> None:
    before = dict(hub.files)
    error = publish("hf://ours/preset", preset, hub, tmp_path)["error"]
    assert "hf://ours/preset holds config.json, model.weights.h5, tokenizer.json of somebody's" in error
    assert "--replace" in error and hub.files == before and hub.uploads == []
    assert publish("hf://ours/preset", preset, hub, tmp_path, replace=True) == {"ours": True}
    error = publish("hf://ours/preset", preset, hub, tmp_path, private=True)["error"]
    assert error.startswith("--private is for a new repository, hf://ours/preset is public already")


def test_publishing_at_kaggle(preset: Path, hub: Hub, tmp_path: Path) -> None:
    assert publish("kaggle://ours/bert/keras/preset", preset, hub, tmp_path) == {"ours": True}
    blobs = {path.removeprefix("/blobs/"): content for path, content in hub.uploads if path.startswith("/blobs/")}
    assert blobs == {name: content[:5000] for name, content in FILES.items()} | {"README.md": b"A card."}
    service, created = hub.uploads[-1]
    assert service == "CreateModelInstance"
    assert sorted(file["token"] for file in created["body"]["files"]) == sorted(f"token of {name}" for name in blobs)


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("hf://ours/preset@main", "a preset is published at hf://owner/model"),
        ("hf://preset", "a preset is published at hf://owner/model"),
        ("kaggle://ours/bert/keras/preset/3", "a preset is published at kaggle://owner/model/keras/variation"),
        ("kaggle://ours/bert/pytorch/preset", "a preset is published at kaggle://owner/model/keras/variation"),
        ("ours", "a preset is published at hf://, kaggle:// or a URL"),
    ],
)
def test_publishing_at_a_wrong_handle(uri: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        publish_target(uri)


def test_half_a_preset_is_not_published(preset: Path) -> None:
    (preset / "config.json").unlink()
    with pytest.raises(InputError, match=r"must hold config\.json"):
        publish_directory(publish_target("hf://ours/preset"), preset, b"", "a message")


@pytest.mark.parametrize("scheme", ["hf", "kaggle"])
def test_publishing_without_a_login_says_how_to_get_one(scheme: str, preset: Path, hub: Hub, tmp_path: Path) -> None:
    """Before anything is sent."""
    hub.refused["whoami"] = hub.refused["Hello"] = 401
    uri = {"hf": "hf://ours/preset", "kaggle": "kaggle://ours/bert/keras/preset"}[scheme]
    error = publish(uri, preset, hub, tmp_path)["error"]
    assert error.startswith(f"publishing at {uri} needs a login") and "\n" not in error
    assert {"hf": "hf auth login", "kaggle": "kagglehub.login()"}[scheme] in error
    hub.refused.clear()
    hub.role = "read"
    if scheme == "hf":
        assert "needs a token that may write" in publish(uri, preset, hub, tmp_path)["error"]
    assert hub.uploads == []


@pytest.mark.parametrize("scheme", ["hf", "kaggle"])
def test_publishing_that_is_refused(scheme: str, preset: Path, new_hub: Hub, tmp_path: Path) -> None:
    new_hub.refused["create" if scheme == "hf" else "StartBlobUpload"] = 403
    uri = {"hf": "hf://ours/preset", "kaggle": "kaggle://ours/bert/keras/preset"}[scheme]
    error = publish(uri, preset, new_hub, tmp_path)["error"]
    assert error.startswith(f"the preset must be written to {uri}, it was not: no permission (403)")
    assert [one for one in new_hub.uploads if "files" in str(one)] == []
