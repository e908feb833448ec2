"""Saving, loading, fingerprints, and what is wrong with bad vocabularies: file and line."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import slow_references as references

from clozekit.tokenizers.byte_pair import BytePairTokenizer
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
ROBERTA = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7}
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
XLMR = [
    ("<unk>", 0.0, UNKNOWN),
    ("<s>", 0.0, CONTROL),
    ("</s>", 0.0, CONTROL),
    ("▁a", -1.0, NORMAL),
    ("b", -2.0, NORMAL),
]
ALBERT = [
    ("<unk>", 0.0, UNKNOWN),
    *((piece, 0.0, CONTROL) for piece in ("<pad>", "[CLS]", "[SEP]", "[MASK]")),
    *XLMR[3:],
]


def one_of_each() -> list[Tokenizer]:
    return [
        BertTokenizer(BERT, lowercase=True),
        BertTokenizer(BERT, split_on_cjk=False, special_tokens_in_strings=True),
        RobertaTokenizer(ROBERTA, ["a b"], special_tokens_in_strings=True),
        AlbertTokenizer(references.spm_proto(ALBERT)),
        XLMRobertaTokenizer(references.spm_proto(XLMR), sequence_length=5),
    ]


@pytest.mark.parametrize("tokenizer", one_of_each(), ids=lambda tokenizer: type(tokenizer).__name__)
def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    text = "ab [MASK]A 中b <mask>"
    for other in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert type(other) is type(tokenizer)
        assert other.sha256() == tokenizer.sha256()
        assert other.get_config() == tokenizer.get_config()
        assert np.array_equal(other.tokenize(text), tokenizer.tokenize(text))
        assert np.array_equal(other.word_starts(), tokenizer.word_starts())


def test_fingerprints_differ_where_ids_may() -> None:
    tokenizers = [*one_of_each(), BertTokenizer(BERT), RobertaTokenizer(ROBERTA, [])]
    assert len({tokenizer.sha256() for tokenizer in tokenizers}) == len(tokenizers)


def test_config_round_trip_and_load_assets(tmp_path: Path) -> None:
    tokenizer = BertTokenizer(BERT, lowercase=True)
    tokenizer.save_assets(tmp_path)
    other = BertTokenizer.from_config({**tokenizer.get_config(), "name": "x", "trainable": True, "config_file": "y"})
    with pytest.raises(InputError, match="must have a vocabulary"):
        other.tokenize("a")
    other.load_assets(tmp_path)
    assert other.tokenize("AB").tolist() == [5, 6]


def test_special_tokens_are_properties() -> None:
    bert, roberta = BertTokenizer(BERT), RobertaTokenizer(ROBERTA, ["a b"])
    assert (bert.cls_token, bert.cls_token_id, bert.start_token_id, bert.mask_token_id) == ("[CLS]", 2, 2, 4)
    assert (roberta.start_token, roberta.end_token_id, roberta.pad_token_id) == ("<s>", 2, 1)
    assert (roberta.special_tokens, roberta.special_token_ids) == (["<s>", "<pad>", "</s>", "<mask>"], [0, 1, 2, 4])


def test_forms_of_output() -> None:
    assert BertTokenizer(BERT, sequence_length=3).tokenize(["a", "abb b"]).tolist() == [[5, 0, 0], [5, 6, 6]]
    assert BertTokenizer(BERT, sequence_length=3).tokenize("a").tolist() == [5, 0, 0]
    assert BertTokenizer(BERT, dtype="string").tokenize(["ab", ""]) == [["a", "##b"], []]
    assert BertTokenizer(BERT)("ab").tolist() == [5, 6]
    assert BertTokenizer({piece: i for i, piece in enumerate(BERT)}).tokenize("ab").tolist() == [5, 6]


def test_a_line_may_hold_any_space_but_a_line_feed(tmp_path: Path) -> None:
    pieces = [*BERT, "\u2028", "\x85", "\u00a0x"]
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(pieces).encode())
    assert BertTokenizer(path).get_vocabulary() == pieces


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join([*BERT, "a"]), "vocab.txt has 'a' on line 6 and again on line 8"),
        ("\n".join(BERT[:2] + [""] + BERT[2:]), "vocab.txt line 3 is empty"),
        ("\n".join(BERT[1:]), r"special token \[PAD\], .*vocab.txt"),
        (b"[PAD]\n\xff", "vocab.txt is not at byte 6"),
    ],
)
def test_a_bad_vocab_txt_is_refused_with_the_line(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        BertTokenizer(path)


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        (json.dumps(ROBERTA), "#version: 0.2\na b\nab\n", "merges.txt line 3 is 'ab'"),
        (json.dumps(ROBERTA), "a b c\n", "merges.txt line 1 is 'a b c'"),
        (json.dumps(ROBERTA), "a b\n\na b\n", "merges.txt line 2 is ''"),
        ('{"a": 0,\n "b": }', "", "vocab.json must be JSON, line 2"),
        ('{"a": 0, "a": 1}', "", "vocab.json has 'a' twice"),
        ('{"a": 0, "b": 2}', "", "vocab.json has 2 for 'b' where 1 is due"),
        ('{"a": 0}', "", "special token <s>, .*vocab.json"),
        ('["a"]', "", "must be piece -> id"),
        ('{"a": NaN}', "", "vocab.json has nan for 'a'"),
        ('{"a": 1' + "0" * 5000 + "}", "", "numbers in proportion"),
        ("[" * 100_000, "", "nested without end"),
        (json.dumps({**ROBERTA, "\ud800": 8}), "", "vocab.json line 9 is .* half a surrogate pair"),
        (json.dumps(ROBERTA), "a b\na\rb c\n", "merges.txt line 2 is"),
    ],
)
def test_bad_bpe_files_are_refused_with_the_line(vocabulary: str, merges: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(InputError, match=message):
        RobertaTokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        ([("a", "b c")], "the merges list, item 1 is"),
        ([("a", "b\n")], "the merges list, item 1 is"),
        ([("a", 5)], "the merges list, item 1 is"),
        (["a b", 5], "the merges list, item 2 is 5"),
        ([("a", "\udfff")], "item 1 is .* half a surrogate pair"),
        (5, "merges must be a list of pairs, got 5"),
    ],
)
def test_merges_that_no_file_could_hold_are_refused(merges: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RobertaTokenizer(ROBERTA, merges)


def test_a_piece_with_a_line_break_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the piece 'a\\nb' does not fit"):
        BertTokenizer([*BERT, "a\nb"]).save(tmp_path)


def test_files_out_of_proportion_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clozekit.tokenizers.formats.vocabulary_files.MAX_FILE_BYTES", 1 << 20)
    for make in (BertTokenizer, AlbertTokenizer):
        with pytest.raises(InputError, match="at most 1 MiB, /dev/zero has more"):
            make("/dev/zero")
    with pytest.raises(InputError, match="must be readable"):
        BertTokenizer("a\0b")


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"class_name": "GemmaTokenizer", "config": {}}')
    with pytest.raises(InputError, match="'GemmaTokenizer'"):
        load_tokenizer(tmp_path)
    for settings in ("{}", '{"lower_case": true}', "null"):
        (tmp_path / "tokenizer.json").write_text(f'{{"class_name": "BertTokenizer", "config": {settings}}}')
        with pytest.raises(InputError, match=str(tmp_path)):
            load_tokenizer(tmp_path)


def test_vocabulary_and_merges_belong_together() -> None:
    with pytest.raises(InputError, match="belong together"):
        BytePairTokenizer(vocabulary=ROBERTA)


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"dtype": "float32"}, {"sequence_length": 0}, {"suffix_indicator": ""}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            BertTokenizer(BERT, **wrong)
    with pytest.raises(TypeError):
        BertTokenizer(BERT, lower_case=True)
