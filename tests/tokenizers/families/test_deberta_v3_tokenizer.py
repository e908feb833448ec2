"""DeBERTa V3's tokenizer: the mask behind the pieces, and files of transformers with and without the model's rules."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_families as small

from clozekit.deploy.convert import check_keras_hub_tokenizer
from clozekit.deploy.formats.saved_model import can_be_in_graph
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.formats.huggingface_description import COMPOSED_SPACES

METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def written(directory: Path, **settings: Any) -> Path:
    """Files as transformers has them, with its class."""
    write_huggingface_tokenizer(small.tokenizer("deberta_v3"), directory, 32)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "DebertaV2Tokenizer", **settings}))
    path = directory / "tokenizer.json"
    steps = {"normalizer": COMPOSED_SPACES, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [METASPACE]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **steps}))
    return directory


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_mask_has_the_id_behind_the_pieces() -> None:
    tokenizer = small.tokenizer("deberta_v3")
    assert tokenizer.special_tokens == ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    assert tokenizer.special_token_ids == [0, 1, 2, 3, tokenizer.vocabulary_size() - 1]
    assert tokenizer.vocabulary_size() == len(tokenizer.model.pieces) + 1
    assert tokenizer.detokenize([*tokenizer.tokenize("a dog"), tokenizer.mask_token_id]) == "a dog[MASK]"


def test_the_model_decides_where_it_stands_beside_the_files_of_transformers(tmp_path: Path) -> None:
    own = small.tokenizer("deberta_v3")
    found = load_tokenizer(written(tmp_path))
    assert (type(found), found.sha256()) == (type(own), own.sha256())
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    settings = {"do_lower_case": False, "vocab_type": "spm"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    assert load_tokenizer(tmp_path).sha256() == own.sha256()


def test_without_the_model_texts_are_composed_as_transformers_5_does(tmp_path: Path) -> None:
    (written(tmp_path) / "spm.model").unlink()
    found = load_tokenizer(tmp_path)
    own = small.tokenizer("deberta_v3")
    assert (found.compose, found.get_vocabulary()) == (True, own.get_vocabulary())
    space, unknown = found.token_to_id("▁"), found.token_to_id("[UNK]")
    dog = found.tokenize("dog").tolist()
    texts = [
        "dog",
        " dog",
        "\t\n dog  ",
        "dog\u2003dog",
        "dog\u2003 dog",
        "\u2003dog",
        "▁",
        "dog ▁ dog",
        "▁dog",
        "",
        " ",
    ]
    tail = found.tokenize("adog").tolist()[len(found.tokenize("a")) :]
    assert found.tokenize(texts) == [
        dog, dog, dog, [*dog, unknown, *tail], [*dog, *dog], [space, unknown, *tail], [space], [*dog, space, space, *dog], dog, [], []
    ]  # fmt: skip
    # Files of transformers and of our layout give the same again; what knows the model's rules alone is refused.
    found.save(tmp_path / "ours")
    write_huggingface_tokenizer(found, make_folder(tmp_path / "theirs"), 32)
    assert not (tmp_path / "theirs" / "spm.model").exists()
    for folder in ("ours", "theirs"):
        again = load_tokenizer(tmp_path / folder)
        assert (again.sha256(), again.tokenize(texts)) == (found.sha256(), found.tokenize(texts))
    assert found.sha256() != own.sha256()
    assert not can_be_in_graph(found)
    with pytest.raises(InputError, match="KerasHub's DebertaV3Tokenizer has nothing for compose"):
        check_keras_hub_tokenizer(found)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("normalizer", {"type": "NFC"}, "a normalizer with NFC of a Unigram model must be that of"),
        (
            "normalizer",
            {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *COMPOSED_SPACES["normalizers"]]},
            r"a normalizer with NFC .* has the steps \['Lowercase', 'Replace', 'NFC', 'Strip'\]",
        ),
        ("pre_tokenizer", {**METASPACE, "prepend_scheme": "first"}, "pre_tokenizer of .* must put ▁ before every word"),
        (
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]},
            "pre_tokenizer of .* must be Metaspace alone behind NFC",
        ),
    ],
)
def test_other_steps_beside_composition_are_refused_by_name(
    part: str, value: Any, message: str, tmp_path: Path
) -> None:
    (written(tmp_path) / "spm.model").unlink()
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("do_lower_case", True), ("split_by_punct", True), ("vocab_type", "gpt2")])
def test_settings_that_change_ids_are_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        load_tokenizer(written(tmp_path, **{name: value}))
