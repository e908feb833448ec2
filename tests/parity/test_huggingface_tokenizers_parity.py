"""Tokenizers that go to transformers and back, or come from there, give the same ids; so do preprocessors.

Needs the extra `parity`. (`test_tokenizers_parity.py` compares the algorithms on whole corpora.)
"""

import string
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

transformers = pytest.importorskip("transformers")

from clozekit.model.families.family_table import family_named  # noqa: E402
from clozekit.model.presets.huggingface_preset import save_huggingface  # noqa: E402
from clozekit.model.presets.load_presets import open_source  # noqa: E402
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer  # noqa: E402
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer  # noqa: E402
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer  # noqa: E402
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer  # noqa: E402
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer  # noqa: E402
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer  # noqa: E402
from clozekit.tokenizers.formats.sentence_piece_proto import (  # noqa: E402
    CONTROL,
    NORMAL,
    UNKNOWN,
    read_model,
    read_rules,
    write_model,
)
from clozekit.tokenizers.learning.learn_byte_pairs import count_byte_words, learn_byte_pairs  # noqa: E402

TEXTS = [
    "The quick brown fox jumped over the lazy dog.",
    "  Two  spaces,\ttabs\nand lines  ",
    "CAFÉ café naïve Übermaß ÅNGSTRÖM",
    "日本語のテキスト and 한국어 각각",
    "it's \"quoted\" ``like this'' and 'so'",
    "½ ﬁne ① ² …",
    "ß İ ſ 🙂 👩\u200d💻",
    # No second mark on a letter: Hugging Face's library drops it where sentencepiece does not.
    "e\u0301 a\u0300 \u200bzero\u200dwidth\ufeff",
    "",
    "a",
]
WORDS = [*TEXTS, "the fox jumped over brown dogs and foxes; dogs jumped over the foxes"]


def byte_pair_tokenizer(**settings: Any) -> RobertaTokenizer:
    pieces, merges = learn_byte_pairs(count_byte_words(WORDS * 3), 320)
    return RobertaTokenizer(pieces, [f"{left} {right}" for left, right in merges], **settings)


def bert_tokenizer(**settings: Any) -> BertTokenizer:
    letters = sorted(set("".join(WORDS).lower()) | set("".join(WORDS)))
    visible = [letter for letter in letters if not letter.isspace() and letter.isprintable()]
    words = ["the", "fox", "jump", "##ed", "over", "cafe", "café"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer([*special, *visible, *(f"##{letter}" for letter in visible), *words], **settings)


def sentence_pieces(special: list[tuple[str, float, int]], rule: str) -> bytes:
    """A model of letters and some words, with one of sentencepiece's own normalisations."""
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name=rule)
    charsmap = read_rules(normalizer.serialized_model_proto(), "the rules")
    letters = sorted(set("".join(WORDS)) | set("".join(WORDS).lower()) - set(string.whitespace))
    words = ["▁", "▁the", "▁fox", "es", "▁jump", "ed", "▁cafe", "▁café", "▁dog", "s"]
    rows = [(piece, -3.0 - number / 64, NORMAL) for number, piece in enumerate(dict.fromkeys([*words, *letters]))]
    return write_model([*special, *rows], charsmap)


def albert_model(rule: str = "nmt_nfkc") -> bytes:
    control = [(piece, 0.0, CONTROL) for piece in ("[CLS]", "[SEP]", "[MASK]")]
    return sentence_pieces([("<pad>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), *control], rule)


def xlm_roberta_model() -> bytes:
    return sentence_pieces([("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)], "nmt_nfkc")


TOKENIZERS = {
    "bert": lambda: bert_tokenizer(),
    "bert, lowercase": lambda: bert_tokenizer(lowercase=True),
    "bert, lowercase, accents kept": lambda: bert_tokenizer(lowercase=True, strip_accents=False),
    "bert, CJK not split": lambda: bert_tokenizer(split_on_cjk=False),
    "roberta": lambda: byte_pair_tokenizer(),
    "roberta, prefix space": lambda: byte_pair_tokenizer(add_prefix_space=True),
    "albert": lambda: AlbertTokenizer(albert_model()),
    "albert, lowercase": lambda: AlbertTokenizer(albert_model("nmt_nfkc_cf")),
    "xlm_roberta": lambda: XLMRobertaTokenizer(xlm_roberta_model()),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_of_ours_gives_the_same_ids_there_and_back_here(name: str, tmp_path: Path) -> None:
    ours = TOKENIZERS[name]()
    write_huggingface_tokenizer(ours, tmp_path, 64)
    model_type = {"BertTokenizer": "bert", "RobertaTokenizer": "roberta", "AlbertTokenizer": "albert"}
    config = f'{{"model_type": "{model_type.get(type(ours).__name__, "xlm-roberta")}"}}'
    (tmp_path / "config.json").write_text(config)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == ours.tokenize(TEXTS)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(ours)
    assert again.sha256() == ours.sha256()
    assert theirs.model_max_length == 64
    roles = ("pad_token", "mask_token", "cls_token", "sep_token")
    ids = [ours.pad_token_id, ours.mask_token_id, ours.start_token_id, ours.end_token_id]
    assert [getattr(theirs, f"{role}_id") for role in roles] == ids
    assert len(theirs) == ours.vocabulary_size()
    # Masks in a text, and the space before them.
    text = f"the fox {theirs.mask_token} over{theirs.mask_token} dogs"
    expected = ours.encode_batch([text], special_tokens_in_strings=True).token_ids.tolist()
    assert theirs(text, add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("file", ["spiece.model", "tokenizer.json"])
@pytest.mark.parametrize(
    "settings", [{}, {"do_lower_case": False}, {"keep_accents": True}, {"do_lower_case": False, "keep_accents": True}]
)
def test_the_steps_of_their_albert_are_taken_over(settings: dict[str, bool], file: str, tmp_path: Path) -> None:
    proto = albert_model()
    model = read_model(proto, "the model")
    rows = list(zip(model.pieces, model.scores, strict=True))
    # transformers 5 reads spiece.model only with a newer protobuf than TensorFlow allows.
    theirs = transformers.AlbertTokenizer(rows, _spm_precompiled_charsmap=model.precompiled_charsmap, **settings)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    if file == "spiece.model":
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "spiece.model").write_bytes(proto)
    ours = load_tokenizer(tmp_path)
    assert isinstance(ours, AlbertTokenizer)
    # The library leaves Hangul, which the steps take apart, in parts; sentencepiece, as ALBERT was trained, does not.
    texts = [text for text in TEXTS if "한" not in text]
    assert ours.tokenize(texts) == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert ours.tokenize(["각"]) == AlbertTokenizer(proto).tokenize(["각"])
    # U+0085 is white space to Hugging Face's library, and no rule of the model says so.
    letters = [chr(code) for code in range(0x20, 0x3000) if code != 0x85]
    texts = [f"a{letter}b" for letter in letters]
    theirs_ids = theirs(texts, add_special_tokens=False)["input_ids"]
    different = [letter for letter, a, b in zip(letters, ours.tokenize(texts), theirs_ids, strict=True) if a != b]
    assert different == []


# What tokenizers/README.md says of the rules inside a Unigram model: text, what the rules make of it here, and there.
RULES = [
    ("\u1112\u1161\u11ab", "한", "\u1112\u1161\u11ab"),
    ("\u1112\u1161", "하", "\u1112\u1161"),
    ("하\u11ab", "하\u11ab", "하\u11ab"),
    ("\uff76\uff9e", "ガ", "カ\u3099"),
    ("A\u0300\u0301", "À\u0301", "À"),
    ("\xaa\u0300", "à", "a"),
    ("\u01c6\u0327", "dž\u0327", "dž"),
    ("e\u0301", "é", "é"),
    ("한 À é ガ", "한 À é ガ", "한 À é ガ"),
]


@pytest.mark.parametrize("name", ["albert", "xlm_roberta"])
@pytest.mark.parametrize(("text", "here", "there"), RULES)
def test_the_rules_of_a_converted_model_do_there_what_the_table_says(
    name: str, text: str, here: str, there: str, tmp_path: Path
) -> None:
    letters = sorted({letter for row in RULES for part in row[1:] for letter in part if letter != " "})
    rows = [(piece, -3.0 - number / 64, NORMAL) for number, piece in enumerate(["▁", *letters])]
    start = read_model(albert_model() if name == "albert" else xlm_roberta_model(), "the model")
    special = [row for row in zip(start.pieces, start.scores, start.types, strict=True) if row[2] != NORMAL]
    proto = write_model([*special, *rows], start.precompiled_charsmap)
    ours: Any = AlbertTokenizer(proto) if name == "albert" else XLMRobertaTokenizer(proto)
    write_huggingface_tokenizer(ours, tmp_path, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pieces = ["▁" + letters for letters in here.split()], ["▁" + letters for letters in there.split()]
    assert [ours.id_to_token(number) for number in ours.tokenize(text)] == list("".join(pieces[0]))
    assert theirs.tokenize(text) == list("".join(pieces[1]))


@pytest.mark.parametrize("name", ["bert, lowercase", "roberta", "albert", "xlm_roberta"])
def test_preprocessors_give_the_same_rows_after_the_trip(name: str, tmp_path: Path) -> None:
    members = family_named(name.split(",")[0])
    tokenizer: Any = TOKENIZERS[name]()
    sizes = {"vocabulary_size": tokenizer.vocabulary_size(), "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    sizes |= {"intermediate_dim": 8, "max_sequence_length": 32} | ({"embedding_dim": 4} if name == "albert" else {})
    preprocessor = members.text_classifier_preprocessor(tokenizer, sequence_length=28)
    task = members.text_classifier(members.backbone(**sizes), 2, preprocessor)
    save_huggingface(task, tmp_path / "preset")
    again = members.text_classifier_preprocessor.from_preset(str(tmp_path / "preset"))
    assert again.get_config() == preprocessor.get_config()
    pair = (["the fox jumped over", "a"], ["Dogs and café", "it's"])
    rows = {key: value.numpy().tolist() for key, value in preprocessor(pair).items()}
    assert {key: value.numpy().tolist() for key, value in again(pair).items()} == rows
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "preset")
    expected = theirs(*pair, padding="max_length", max_length=28)
    assert rows["token_ids"] == expected["input_ids"]
    assert rows["padding_mask"] == expected["attention_mask"]
    if "segment_ids" in rows:
        assert rows["segment_ids"] == expected["token_type_ids"]
    (tmp_path / "preset" / "clozekit.json").unlink()
    assert open_source(tmp_path / "preset").preprocessor_settings("text_classifier") == {"sequence_length": 32}
