"""DeBERTa V3's tokenizer: the mask behind the pieces, and files of transformers with and without the model's rules."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_families as small

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

# What the class of transformers 5 writes in the place of the rules.
OF_TRANSFORMERS_5 = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "\\s{2,}|[\\n\\r\\t]"}, "content": " "},
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ],
}


def written(directory: Path, **settings: Any) -> Path:
    """Files as transformers has them, with its class."""
    write_huggingface_tokenizer(small.tokenizer("deberta_v3"), directory, 32)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "DebertaV2Tokenizer", **settings}))
    path = directory / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": OF_TRANSFORMERS_5}))
    return directory


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


def test_without_the_model_its_rules_are_missed(tmp_path: Path) -> None:
    (written(tmp_path) / "spm.model").unlink()
    with pytest.raises(InputError, match=r"normalizer.* must be a step of ALBERT, XLM-RoBERTa or DeBERTa V3"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("do_lower_case", True), ("split_by_punct", True), ("vocab_type", "gpt2")])
def test_settings_that_change_ids_are_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        load_tokenizer(written(tmp_path, **{name: value}))
