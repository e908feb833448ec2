"""Directories of Hugging Face load as the family they are."""

import base64
import json
from pathlib import Path

import pytest
import slow_references as references

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.formats.sentence_piece_proto import read_model, write_model

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
ROBERTA = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7}
ALBERT = [("<unk>", 0.0, 2), *((piece, 0.0, 3) for piece in ("<pad>", "[CLS]", "[SEP]", "[MASK]")), ("▁a", -1.0, 1)]
XLMR = [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁a", -1.0], ["b", -2.5], ["<mask>", 0]]


def test_vocab_txt_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(BERT))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, BertTokenizer) and tokenizer.tokenize("ÁB").tolist() == [5, 6]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(tmp_path).tokenize("AB").tolist() == [1]


def test_tokenizer_json_of_wordpiece(tmp_path: Path) -> None:
    model = {"type": "WordPiece", "vocab": {piece: i for i, piece in enumerate(BERT)}, "unk_token": "[UNK]"}
    # A special token may stand in the list of added ones alone.
    del model["vocab"]["[MASK]"]
    added = [{"id": 4, "content": "[MASK]"}]
    normalizer = {"type": "BertNormalizer", "lowercase": True, "strip_accents": None, "handle_chinese_chars": True}
    content = {"model": model, "normalizer": normalizer, "added_tokens": added}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "pre_tokenizer": {"type": "BertPreTokenizer"}}))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, BertTokenizer) and tokenizer.get_vocabulary() == BERT
    assert tokenizer.tokenize("Áb").tolist() == [5, 6]


@pytest.mark.parametrize("merges", [["a b"], [["a", "b"]]])
def test_tokenizer_json_of_byte_pairs(merges: list, tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": ROBERTA, "merges": merges}
    before = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model, "pre_tokenizer": before}))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, RobertaTokenizer) and tokenizer.tokenize("abb").tolist() == [7, 6]


def test_vocab_json_and_merges(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(ROBERTA))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    assert load_tokenizer(tmp_path).tokenize("abb").tolist() == [7, 6]


def test_tokenizer_json_of_xlm_roberta(tmp_path: Path) -> None:
    charsmap = base64.b64encode(b"").decode()
    steps = [{"type": "Precompiled", "precompiled_charsmap": charsmap}, {"type": "Replace"}]
    content = {"model": {"type": "Unigram", "vocab": XLMR, "unk_id": 3}, "normalizer": {"normalizers": steps}}
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.get_vocabulary() == [piece for piece, _ in XLMR]
    assert tokenizer.tokenize("ab z").tolist() == [4, 5, 3]


def test_sentence_piece_models(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(references.spm_proto(ALBERT))
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    assert isinstance(load_tokenizer(tmp_path), AlbertTokenizer)


def test_written_models_are_read_again() -> None:
    rows = [*ALBERT, ("x" * 300, -3.25, 1)]
    model = read_model(write_model(rows, b"\x04\0\0\0abcd\0"), "written")
    assert list(zip(model.pieces, model.scores, model.types, strict=True)) == rows
    assert model.precompiled_charsmap == b"\x04\0\0\0abcd\0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"type": "WordLevel"}}, "must be WordPiece, BPE or Unigram"),
        ({"model": {"type": "WordPiece", "vocab": {}}, "normalizer": {"type": "NFC"}}, "must be BertNormalizer"),
        (
            {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Split"}},
            "must be ByteLevel",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, r"load the SentencePiece \*.model"),
    ],
)
def test_tokenizers_that_no_family_has_are_refused(content: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)
