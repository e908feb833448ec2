"""`clozekit publish` as a user runs it: at local stand-ins of Hugging Face and Kaggle, and on a storage server."""

import json
import os
from pathlib import Path

import pytest
import small_families as small
from forked_python import ForkedPython
from google_front import Storage, files
from stand_in_hubs import Hub, serve

from clozekit.deploy.cli.main import main
from clozekit.model import MaskedLM

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("published") / "preset")
    small.masked_lm("roberta", small.masked_lm_preprocessor("roberta")).save_to_preset(directory)
    return directory


def command(hub: Hub, home: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error, in a process of its own: the clients, which no test has loaded in what
    it is forked from, read their addresses when they are imported."""
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "huggingface"), "HF_TOKEN": "a-token"}
    environment |= {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": "ours", "KAGGLE_KEY": "a-key"}
    # Kaggle's client comes to the stand-in as to a proxy.
    environment |= {"HTTP_PROXY": hub.url, "http_proxy": hub.url, "NO_PROXY": "127.0.0.1"}
    environment["CLOZEKIT_CACHE"] = str(home / "cache")
    said = [home / "output", home / "errors"]
    for path in said:
        path.write_bytes(b"")
    status = ForkedPython(("-m", "clozekit.deploy.cli", *words), environment, *said).wait(timeout=300)
    return status, said[0].read_text(encoding="utf-8"), said[1].read_text(encoding="utf-8")


def test_a_model_goes_to_hugging_face_and_comes_back_from_there(preset: str, tmp_path: Path) -> None:
    with serve(Hub({}, is_new=True)) as hub:
        words = ["publish", preset, "hf://ours/preset", "--license", "mit", "--message", "First."]
        status, out, err = command(hub, tmp_path, *words)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1].endswith("published at hf://ours/preset as huggingface")
        assert not hub.is_private
        assert "license: mit" in hub.files["README.md"].decode()
        mask = small.tokenizer("roberta").mask_token
        status, out, _ = command(hub, tmp_path, "fill", "hf://ours/preset", f"the {mask} dog", "--json")
    assert status == 0
    expected = MaskedLM.from_preset(preset).fill_mask(f"the {mask} dog")
    assert [guess["piece"] for guess in json.loads(out)["masks"][0]] == [guess.piece for guess in expected[0]]


def test_a_private_model_is_published_in_private(preset: str, tmp_path: Path) -> None:
    with serve(Hub({}, is_new=True)) as hub:
        status, _, err = command(hub, tmp_path, "publish", preset, "hf://ours/preset", "--private")
    assert (status, err) == (0, "")
    assert hub.is_private and "model.safetensors" in hub.files


def test_without_a_login_one_line_says_so_and_nothing_is_loaded(preset: str, tmp_path: Path) -> None:
    with serve(Hub({}, is_new=True, refused={"whoami": 401})) as hub:
        status, out, err = command(hub, tmp_path, "publish", preset, "hf://ours/preset")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("clozekit publish: publishing at hf://ours/preset needs a login")
    assert hub.uploads == []


def test_a_model_goes_to_kaggle(preset: str, tmp_path: Path) -> None:
    with serve(Hub({})) as hub:
        status, out, _ = command(hub, tmp_path, "publish", preset, "kaggle://ours/model/keras/base")
    assert status == 0 and out.splitlines()[-1].endswith("published at kaggle://ours/model/keras/base as keras_hub")
    sent = {path.removeprefix("/blobs/") for path, _ in hub.uploads if path.startswith("/blobs/")}
    assert {"README.md", "config.json", "model.weights.h5", "task.json", "tokenizer.json"} <= sent


def test_a_dry_run_shows_the_card_and_asks_nobody(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody listens there.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["publish", preset, "hf://ours/preset", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "library_name: transformers" in out and "model.safetensors" in out
    assert out.splitlines()[-1].endswith("nothing was sent to hf://ours/preset")
    assert main(["publish", preset, "kaggle://ours/model/keras/base", "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["sent"] is False and answer["format"] == "keras_hub" and answer["files"]["README.md"] > 500


def test_a_model_goes_to_a_bucket_where_a_changed_card_stays(
    preset: str, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["publish", preset, "gs://ours/published"]
    assert main(words) == 0
    expected = [guess.piece for guess in MaskedLM.from_preset(preset).fill_mask("the <mask> dog")[0]]
    again = MaskedLM.from_preset("gs://ours/published")
    assert [guess.piece for guess in again.fill_mask("the <mask> dog")[0]] == expected
    assert main(words) == 0
    files().pipe_file("ours/published/README.md", b"By a colleague.")
    capsys.readouterr()
    assert main(words) == 2
    assert "the card at gs://ours/published (README.md) was written or changed" in capsys.readouterr().err
    assert main([*words, "--keep-card"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("as keras_hub; the card there was kept")
    assert files().cat_file("ours/published/README.md") == b"By a colleague."
    files().pipe_file("ours/published/thesis.txt", b"precious")
    assert main([*words, "--replace"]) == 2
    assert "what Clozekit did not write there: thesis.txt" in capsys.readouterr().err
