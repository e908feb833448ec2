"""Tokenizers of others are not taken for ours: what a file says and is not honoured is refused by name, all families."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slow_references as references

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def added(number: int, piece: str, **flags: Any) -> dict[str, Any]:
    usual = {"single_word": False, "lstrip": piece == "<mask>", "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": piece, **usual, **flags}


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
SPACES = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}
ROWS = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁a", -1.0], ["b", -2.5], ["<mask>", 0.0]]
WORDPIECE: dict[str, Any] = {
    "added_tokens": [added(number, piece) for number, piece in enumerate(SPECIAL)],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: number for number, piece in enumerate([*SPECIAL, "a", "##b", "A"])},
    },
}
BPE: dict[str, Any] = {
    "added_tokens": [added(0, "<s>"), added(1, "<pad>"), added(2, "</s>"), added(3, "<unk>"), added(4, "<mask>")],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7, "Ġ": 8},
        "merges": [["a", "b"]],
    },
}
UNIGRAM: dict[str, Any] = {
    "added_tokens": [added(number, str(piece)) for number, (piece, _) in enumerate(ROWS) if str(piece)[0] == "<"],
    "normalizer": None,
    "pre_tokenizer": SPACES,
    "model": {"type": "Unigram", "unk_id": 3, "vocab": ROWS, "byte_fallback": False},
}
KINDS = {"wordpiece": WORDPIECE, "bpe": BPE, "unigram": UNIGRAM}


def write(directory: Path, content: dict[str, Any], **files: Any) -> None:
    (directory / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    for name, more in files.items():
        (directory / f"{name}.json").write_text(json.dumps(more), encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_family_writes_is_taken(kind: str, tmp_path: Path) -> None:
    write(tmp_path, KINDS[kind])
    assert (
        load_tokenizer(tmp_path).tokenize("ab").tolist() == {"wordpiece": [5, 6], "bpe": [7], "unigram": [4, 5]}[kind]
    )


def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *way, last = path
        for key in way:
            content = content[key]
        content[last] = value

    return change


def without_start(content: dict[str, Any]) -> None:
    del content["model"]["vocab"][0], content["added_tokens"][0]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "wordpiece",
            at("pre_tokenizer", value={"type": "WhitespaceSplit"}),
            "pre_tokenizer.type .* 'WhitespaceSplit'",
        ),
        ("wordpiece", at("pre_tokenizer", value=None), "pre_tokenizer.type .* it is None"),
        ("wordpiece", at("normalizer", value={"type": "Lowercase"}), "normalizer .* must be BertNormalizer"),
        ("wordpiece", at("normalizer", "clean_text", value=False), "normalizer.clean_text .* it is False"),
        ("wordpiece", at("model", "max_input_chars_per_word", value=20), "max_input_chars_per_word .* it is 20"),
        ("wordpiece", lambda c: c["added_tokens"].append(added(9, "<new>")), "has 9 for '<new>' where 8 is due"),
        ("wordpiece", lambda c: c["added_tokens"].append(added(6, "a")), "has 6 for 'a' where 5 is due"),
        ("wordpiece", lambda c: c["added_tokens"].append(added(4, "<new>")), "gives 4 to two"),
        ("wordpiece", lambda c: c["added_tokens"].append(added(8, "<new>", since=1)), "sets 'since' of '<new>' too"),
        ("wordpiece", at("added_tokens", 4, "lstrip", value=1), r"lstrip of '\[MASK\]' must be true or false"),
        ("wordpiece", at("added_tokens", 4, "id", value=7), r"has 7 for '\[MASK\]' where 4 is due"),
        ("wordpiece", at("normalizer", "lower", value=True), "normalizer.lower .* is not known"),
        ("wordpiece", at("model", "subword", value=True), "model.subword .* is not known"),
        ("wordpiece", at("steps", value=[]), "'steps' .* is not known"),
        ("wordpiece", at("decoder", value={"type": "CTC"}), "decoder.type .* must be 'WordPiece'"),
        ("wordpiece", at("post_processor", value={"type": "Sequence"}), "post_processor"),
        (
            "wordpiece",
            at("post_processor", value={"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 2]}),
            "post_processor.sep",
        ),
        ("bpe", at("pre_tokenizer", "use_regex", value=False), "must be ByteLevel"),
        ("bpe", at("pre_tokenizer", value={"type": "Whitespace"}), "must be ByteLevel"),
        ("bpe", at("normalizer", value={"type": "Lowercase"}), "normalizer .* it is {'type': 'Lowercase'}"),
        ("bpe", at("model", "dropout", value=0.1), "model.dropout .* it is 0.1"),
        ("bpe", at("model", "fuse_unk", value=True), "model.fuse_unk"),
        ("bpe", at("model", "byte_fallback", value=True), "model.byte_fallback"),
        ("bpe", at("model", "ignore_merges", value=True), "model.ignore_merges"),
        ("bpe", at("model", "end_of_word_suffix", value="</w>"), "model.end_of_word_suffix"),
        ("bpe", at("model", "continuing_subword_prefix", value="##"), "model.continuing_subword_prefix"),
        ("bpe", at("pre_tokenizer", "regex", value="."), "pre_tokenizer.regex .* is not known"),
        (
            "unigram",
            at("pre_tokenizer", value={**METASPACE, "prepend_scheme": "never"}),
            "must put ▁ before every word",
        ),
        ("unigram", at("pre_tokenizer", value=METASPACE), "must put ▁ before every word and drop other white space"),
        ("unigram", at("pre_tokenizer", value={"type": "Whitespace"}), "must put ▁ before every word"),
        ("unigram", at("model", "unk_id", value=0), "model.unk_id .* must be 3, it is 0"),
        ("unigram", lambda c: c["added_tokens"].append(added(8, "<new>")), "has 8 for '<new>' where 7 is due"),
        ("unigram", at("model", "byte_fallback", value=True), "model.byte_fallback"),
        ("unigram", at("normalizer", value={"type": "Lowercase"}), "normalizer"),
        ("unigram", at("normalizer", value={"type": "Prepend", "prepend": "x"}), "normalizer"),
        ("unigram", without_start, "special tokens among its pieces"),
    ],
)
def test_a_part_of_tokenizer_json_that_is_not_honoured_is_named(
    kind: str, change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(KINDS[kind])
    change(content)
    write(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens": {"<new>": 100}}, "has 100 for '<new>' where . is due"),
        ({"added_tokens": {"<new>": "100"}}, "must be a number from 0 on"),
        ({"tokenizer_config": {"added_tokens_decoder": {"100": {"content": "<new>"}}}}, "has 100 for '<new>' where"),
        ({"tokenizer_config": {"added_tokens_decoder": {"100": "<new>"}}}, "must have its text"),
        ({"tokenizer_config": {"added_tokens_decoder": []}}, "must be id -> token"),
        ({"tokenizer_config": {"additional_special_tokens": [5]}}, "must have its text"),
        (
            {"tokenizer_config": {"add_prefix_space": "no"}},
            "must not set add_prefix_space to anything but True or False",
        ),
        ({"tokenizer_config": {"do_lower_case": None}}, "must not set do_lower_case"),
        ({"tokenizer_config": {"strip_accents": 1}}, "must not set strip_accents"),
        ({"tokenizer_config": {"truncation_side": "left"}}, "must not set truncation_side"),
        ({"tokenizer_config": {"word_tokenizer_type": "mecab"}}, "sets 'word_tokenizer_type', which is not known"),
        ({"tokenizer_config": {"auto_map": {"AutoTokenizer": ["a.B", None]}}}, "must not set auto_map"),
        ({"tokenizer_config": {"extra_ids": 100}}, "must not set extra_ids"),
        ({"special_tokens_map": {"mask_token": "<blank>"}}, "mask_token of .* it is|says '<blank>'"),
        ({"tokenizer_config": {"mask_token": {"content": "<blank>"}}}, "says '<blank>'"),
        ({"tokenizer_config": {"do_basic_tokenize": False}}, "must not set do_basic_tokenize"),
        ({"tokenizer_config": {"never_split": ["x"]}}, "must not set never_split"),
        ({"tokenizer_config": {"split_special_tokens": True}}, "must not set split_special_tokens"),
        ({"tokenizer_config": {"sp_model_kwargs": {"enable_sampling": True}}}, "must not set sp_model_kwargs"),
        ({"tokenizer_config": {"tokenizer_class": "LlamaTokenizerFast"}}, "says 'LlamaTokenizerFast'"),
        ({"tokenizer_config": {"tokenizer_class": "DebertaTokenizer"}}, "says 'DebertaTokenizer'"),
        ({"tokenizer_config": {"tokenizer_class": 5}}, "says 5"),
        ({"config": {"model_type": "t5"}}, "says model_type 't5'"),
        ({"config": {"model_type": []}}, "says model_type"),
        (
            {"config": {"tokenizer_class": "BertJapaneseTokenizer", "model_type": "bert"}},
            "says 'BertJapaneseTokenizer'",
        ),
        ({"tokenizer_config": []}, "must hold a JSON object"),
    ],
)
def test_a_file_beside_tokenizer_json_is_not_passed_over(
    kind: str, files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, KINDS[kind], **files)
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "class_name",
    ["CamembertTokenizer", "T5Tokenizer", "DebertaTokenizer", "LlamaTokenizer", "XLNetTokenizer", "BigBirdTokenizer"],
)
@pytest.mark.parametrize("where", ["tokenizer_config", "config"])
def test_a_sentence_piece_model_of_another_class_is_refused(class_name: str, where: str, tmp_path: Path) -> None:
    rows = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁a", -1.0, 1)]
    (tmp_path / "spiece.model").write_bytes(references.spm_proto(rows))
    assert load_tokenizer(tmp_path).tokenize("a").tolist() == [4]
    (tmp_path / f"{where}.json").write_text(json.dumps({"tokenizer_class": class_name}), encoding="utf-8")
    with pytest.raises(InputError, match=f"says {class_name!r}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("model_type", ["camembert", "llama", "deberta", "big_bird", "xlnet", "phobert"])
def test_a_model_of_another_type_is_refused(model_type: str, tmp_path: Path) -> None:
    rows = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁a", -1.0, 1)]
    (tmp_path / "sentencepiece.model").write_bytes(references.spm_proto(rows))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    with pytest.raises(InputError, match=f"says model_type {model_type!r}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("class_name", ["PhobertTokenizer", "BertJapaneseTokenizer", "RobertaTokenizer"])
def test_a_vocab_txt_of_another_class_is_refused(class_name: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "a"]), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}), encoding="utf-8")
    with pytest.raises(InputError, match=class_name):
        load_tokenizer(tmp_path)


# What transformers 5.23 gives for "A ab" with these two files: a family's own class takes its settings from
# tokenizer_config.json and nothing but the vocabulary from tokenizer.json; the plain class does the opposite.
@pytest.mark.parametrize(
    ("lowercase_there", "settings", "ids"),
    [
        (True, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, [7, 5, 6]),
        (False, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}, [5, 5, 6]),
        (False, {"tokenizer_class": "BertTokenizer"}, [5, 5, 6]),
        (False, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}, [7, 5, 6]),
        (True, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}, [5, 5, 6]),
    ],
)
def test_the_settings_beside_tokenizer_json_win_as_in_transformers(
    lowercase_there: bool, settings: dict[str, Any], ids: list[int], tmp_path: Path
) -> None:
    content = copy.deepcopy(WORDPIECE)
    content["normalizer"]["lowercase"] = lowercase_there
    write(tmp_path, content, tokenizer_config=settings)
    assert load_tokenizer(tmp_path).tokenize("A ab").tolist() == ids


@pytest.mark.parametrize(
    ("prefix_there", "settings", "ids"),
    [
        (True, {"tokenizer_class": "RobertaTokenizer"}, [7]),
        (False, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}, [8, 7]),
        (True, {"tokenizer_class": "PreTrainedTokenizerFast"}, [8, 7]),
        (False, {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}, [7]),
    ],
)
def test_the_prefix_space_of_the_settings_wins_too(
    prefix_there: bool, settings: dict[str, Any], ids: list[int], tmp_path: Path
) -> None:
    content = copy.deepcopy(BPE)
    content["pre_tokenizer"]["add_prefix_space"] = prefix_there
    write(tmp_path, content, tokenizer_config=settings)
    assert load_tokenizer(tmp_path).tokenize("ab").tolist() == ids


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf%s\na\n", b"%s\na\n\n", b"%s\r\na\r\n\n\n", b"%s\na"])
def test_a_vocab_txt_with_a_mark_or_empty_last_lines_loads(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content % "\n".join(SPECIAL).encode())
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("a").tolist() == [5]
    assert tokenizer.vocabulary_size() == 6
