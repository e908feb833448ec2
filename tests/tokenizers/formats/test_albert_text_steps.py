"""ALBERT's steps become rules of its model: quotes, accents, upper case, then what the model did before."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.formats.albert_text_steps import compose, with_text_steps
from clozekit.tokenizers.formats.sentence_piece_proto import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    read_model,
    read_rules,
    write_model,
)

SPECIAL = [("<pad>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), *((p, 0.0, CONTROL) for p in ("[CLS]", "[SEP]", "[MASK]"))]
LETTERS = [(piece, -1.0, NORMAL) for piece in ("▁", *"aAéeßs\"'`가")]


def model(rules: list[tuple[str, str]]) -> bytes:
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=rules)
    return write_model([*SPECIAL, *LETTERS], read_rules(normalizer.serialized_model_proto(), "rules"))


def pieces(tokenizer: Any, text: str) -> str:
    return "".join(tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize(text))


def test_the_steps_come_before_the_rules() -> None:
    rules = {"a": "b", "é": "never", "ab": "c", "A": "never"}
    composed = compose(rules, lowercase=True, strip_accents=True)
    assert {key: composed.get(key) for key in ("a", "ab", "A", "é", "É", "e\u0301", "\u0301", "``", "''", "각")} == {
        "a": "b", "ab": "c", "A": "b", "é": "e", "É": "e", "e\u0301": None, "\u0301": "", "``": '"', "''": '"',
        "각": "\u1100\u1161\u11a8",
    }  # fmt: skip
    # A rule of two characters, for both as they were before the steps.
    composed = compose({"e\u0301": "é", "E\u0301": "É"}, lowercase=True, strip_accents=False)
    assert (composed["e\u0301"], composed["E\u0301"], composed["É"]) == ("é", "é", "é")
    # The rules of a real model put it together again.
    assert "각" not in compose({"\u1100\u1161\u11a8": "각"}, lowercase=True, strip_accents=True)


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "expected"),
    [(True, True, '▁a"e▁aße"'), (True, False, '▁a"é▁aße"'), (False, True, '▁A"e▁aße"'), (False, False, '▁A"é▁aße"')],
)
def test_a_model_with_the_steps(lowercase: bool, strip_accents: bool, expected: str) -> None:
    proto = with_text_steps(model([("x", "a")]), "it", lowercase, strip_accents)
    assert pieces(AlbertTokenizer(proto), "A``é xße''") == expected
    # The library itself reads the same.
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    assert "".join(processor.encode("A``é xße''", out_type=str)) == expected


def test_a_directory_of_their_albert_has_the_steps(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(model([("x", "a")]))
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    assert pieces(load_tokenizer(tmp_path), "A``É") == '▁a"e'
    settings = {"do_lower_case": False, "keep_accents": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert pieces(load_tokenizer(tmp_path), "A``é") == '▁A"é'
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert pieces(load_tokenizer(tmp_path), "A``é") == "▁A``é"


def test_tokenizer_json_of_albert(tmp_path: Path) -> None:
    charsmap = read_model(model([("x", "a")]), "it").precompiled_charsmap
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "Replace", "pattern": {"String": "''"}, "content": '"'},
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
    ]
    content = {
        "model": {
            "type": "Unigram",
            "unk_id": 1,
            "vocab": [[piece, score] for piece, score, _ in [*SPECIAL, *LETTERS]],
        },
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            ],
        },
        "added_tokens": [{"content": piece, "special": True} for piece, _, _ in SPECIAL],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, AlbertTokenizer)
    assert pieces(tokenizer, "A``É x") == '▁a"e▁a'
    # In another order they would mean something else.
    content["normalizer"]["normalizers"] = [steps[-1], *steps[:-1]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="with the steps of normalisation that transformers writes"):
        load_tokenizer(tmp_path)
