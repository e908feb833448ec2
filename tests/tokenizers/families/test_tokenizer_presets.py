"""Tokenizers come from presets: of the right class, with settings replaced, and without fetching the weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.hub.preset_checksums import cache_directory
from clozekit.tokenizers.hub.preset_files import relative_names
from clozekit.tokenizers.hub.preset_upload import upload_directory
from clozekit.tokenizers.tokenizer import Tokenizer

ROBERTA = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CLOZEKIT_CACHE", str(tmp_path / "cache"))
    yield "memory://presets/ours"
    memory = fsspec.filesystem("memory")
    if memory.exists("/presets"):
        memory.rm("/presets", recursive=True)


def cached_names() -> list[str]:
    return [name.split("/files/")[1] for name in relative_names(cache_directory()) if "/files/" in name]


def test_a_loaded_tokenizer_is_of_the_class_that_was_asked_for(
    tokenizer: BertTokenizer, tokenizer_directory: str
) -> None:
    for cls in (BertTokenizer, Tokenizer):
        found = cls.from_preset(tokenizer_directory)
        assert isinstance(found, BertTokenizer) and found.sha256() == tokenizer.sha256()
    with pytest.raises(
        InputError, match=r"must be a RobertaTokenizer, .* has a BertTokenizer; take that by BertTokenizer"
    ):
        RobertaTokenizer.from_preset(tokenizer_directory)


def test_settings_are_replaced(tmp_path: Path, tokenizer_directory: str) -> None:
    found = BertTokenizer.from_preset(tokenizer_directory, lowercase=False, sequence_length=8)
    assert (found.lowercase, found.sequence_length) == (False, 8)
    # An option that only we have stands in a file beside KerasHub's.
    RobertaTokenizer(ROBERTA, ["a b"], special_tokens_in_strings=True).save_to_preset(tmp_path)
    assert RobertaTokenizer.from_preset(tmp_path).special_tokens_in_strings is True
    assert RobertaTokenizer.from_preset(tmp_path, special_tokens_in_strings=False).special_tokens_in_strings is False


@pytest.mark.parametrize("name", ["sequence_lenght", "vocabulary"])
def test_an_unknown_setting_is_an_error(name: str, tokenizer_directory: str) -> None:
    with pytest.raises(TypeError, match=f"BertTokenizer takes dtype, lowercase, .*got {name}"):
        BertTokenizer.from_preset(tokenizer_directory, **{name: 3})


def test_only_the_tokenizer_is_fetched_from_a_preset(url: str, tokenizer: BertTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "ours")
    for name in ("config.json", "model.weights.h5"):
        (tmp_path / "ours" / name).write_text("{}")
    upload_directory(tmp_path / "ours", url)
    assert BertTokenizer.from_preset(url).sha256() == tokenizer.sha256()
    assert cached_names() == ["assets/tokenizer/vocabulary.txt", "tokenizer.json"]


@pytest.mark.parametrize(
    ("extra", "fetched"),
    [
        ({}, ["merges.txt", "vocab.json"]),
        ({"tokenizer_config.json": "{}"}, ["merges.txt", "tokenizer_config.json", "vocab.json"]),
    ],
)
def test_only_the_tokenizer_is_fetched_from_hugging_face_files(
    extra: dict[str, str], fetched: list[str], url: str
) -> None:
    files = {"vocab.json": json.dumps(ROBERTA), "merges.txt": "a b\n", "model.safetensors": "weights", **extra}
    for name, content in files.items():
        fsspec.filesystem("memory").pipe_file(f"/presets/ours/{name}", content.encode())
    assert RobertaTokenizer.from_preset(url).get_vocabulary() == list(ROBERTA)
    assert cached_names() == fetched


def test_a_preset_without_a_tokenizer(url: str) -> None:
    fsspec.filesystem("memory").pipe_file("/presets/ours/model.safetensors", b"weights")
    with pytest.raises(
        InputError, match=rf"must hold tokenizer.json or vocab.txt or vocab.json or \*.model, {url} does not"
    ):
        Tokenizer.from_preset(url)


def test_half_a_tokenizer(url: str, tokenizer: BertTokenizer) -> None:
    tokenizer.save_to_preset(url)
    fsspec.filesystem("memory").rm("/presets/ours/assets/tokenizer/vocabulary.txt")
    with pytest.raises(InputError, match=r"assets/tokenizer/vocabulary\.txt of the preset .*\(404\)"):
        Tokenizer.from_preset(url)
