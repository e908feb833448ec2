"""Which files a preset's name means: directories, ids, handles; what is wrong with a name is said in one line."""

import sys
from pathlib import Path

import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import MissingExtraError
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.hub.kaggle_presets import KaggleFiles
from clozekit.tokenizers.hub.open_preset import open_preset
from clozekit.tokenizers.storage import download_errors


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLOZEKIT_PRESET_PATH", raising=False)
    monkeypatch.setenv("CLOZEKIT_CACHE", str(tmp_path / "cache"))


def preset_at(directory: Path, content: str = "{}") -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(content)
    return directory


def test_a_directory(tmp_path: Path) -> None:
    directory = preset_at(tmp_path / "a preset")
    (directory / "assets" / "tokenizer").mkdir(parents=True)
    (directory / "assets" / "tokenizer" / "vocabulary.txt").write_text("a")
    for name in (directory, str(directory), directory.as_uri().replace("%20", " ")):
        files = open_preset(name)
        assert files.names() == ["assets/tokenizer/vocabulary.txt", "config.json"]
        assert files.path("config.json") == directory / "config.json"
        assert files.path("task.json", required=False) is None
        assert files.local_directory() == directory
        with pytest.raises(InputError, match=r"must hold task\.json, .*a preset does not"):
            files.path("task.json")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "assets/../../x", "C:/x", "a\\..\\b", ""])
def test_a_name_never_leads_out_of_the_preset(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must stay inside the preset"):
        open_preset(preset_at(tmp_path / "preset")).path(name)


@pytest.mark.parametrize(
    ("preset", "place"),
    [
        ("bert_base_en", "bert_base_en"),
        ("bert_base_en", "keras/bert/keras/bert_base_en/3"),
        ("our_own", "our_own"),
        ("kaggle://keras/bert/keras/bert_base_en", "bert_base_en"),
        ("kaggle://keras/bert/keras/bert_base_en/3", "bert_base_en"),
        ("kaggle://keras/bert/keras/bert_base_en/3", "keras/bert/keras/bert_base_en/3"),
        ("hf://ours/model", "ours/model"),
        ("hf://ours/model@v2", "model"),
        ("gs://bucket/presets/model/", "model"),
    ],
)
def test_the_preset_path_goes_before_any_download(
    preset: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = preset_at(tmp_path / "second" / place)
    monkeypatch.setenv("CLOZEKIT_PRESET_PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    assert open_preset(preset).local_directory() == directory


def test_the_first_directory_of_the_preset_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOZEKIT_PRESET_PATH", f"{tmp_path / 'b'}:{tmp_path / 'a'}")
    expected = preset_at(tmp_path / "b" / "model")
    preset_at(tmp_path / "a" / "ours" / "model")
    assert open_preset("hf://ours/model").local_directory() == expected


@pytest.mark.parametrize("handle", ["hf://ours/..", "kaggle://a/b/c/..", "gs://bucket/.."])
def test_a_handle_never_leads_out_of_the_preset_path(
    handle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset_at(tmp_path / "presets")
    monkeypatch.setenv("CLOZEKIT_PRESET_PATH", str(tmp_path / "presets"))
    with pytest.raises(InputError, match=r"must not have '\.\.'"):
        open_preset(handle)


def test_a_built_in_id_is_at_kaggle() -> None:
    files = open_preset("albert_base_en_uncased")
    assert isinstance(files, KaggleFiles)
    assert files.source == BUILTIN_PRESETS["albert_base_en_uncased"].handle


@pytest.mark.parametrize(
    ("preset", "rule"),
    [
        ("bert_base_uncased", "did you mean bert_base_en_uncased"),
        ("./nothing/here", "the ids are bert_tiny_en_uncased, "),
        ("kaggle://keras/bert", "must be kaggle://owner/model/framework/variation"),
        ("kaggle://keras/bert/keras/bert_base_en/three", "must be kaggle://owner/model/framework/variation"),
        ("hf://bert", "must be hf://owner/model"),
        ("nosuch://a/b", "the scheme of nosuch://a/b must be one that fsspec opens here"),
        ("file:///nothing/here", "must be a directory"),
        ("", "a preset must be named"),
    ],
)
def test_a_name_that_is_no_preset(preset: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as caught:
        open_preset(preset).path("config.json")
    assert "\n" not in str(caught.value)


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"not installed \(kagglehub\); run: pip install 'clozekit\[kaggle\]'"):
        download_errors.client_library("kaggle", "kaggle://")
