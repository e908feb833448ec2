"""ModernBERT's tokenizer against Hugging Face `tokenizers`: a file laid out as the published one, and ids of every kind of text."""

import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

transformers = pytest.importorskip("transformers")

from clozekit.tokenizers.common.errors import InputError  # noqa: E402
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer  # noqa: E402
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer  # noqa: E402
from clozekit.tokenizers.families.modern_bert_tokenizer import ModernBertTokenizer  # noqa: E402

CORPUS = [
    "def f(x):\n        return x  # eight spaces and the rest of the line",
    "The quick brown fox jumped over the lazy dog; it's a café, naïve, Übermaß.",
    "日本語のテキスト and 한국어 각각, 12345 + 678 = 13,023.",
]
TEXTS = [
    *CORPUS,
    "",
    " ",
    *(" " * length for length in (2, 3, 23, 24, 25, 30, 49)),
    "a" + " " * 24 + "b" + " " * 7,
    "\t\t  \n \u00a0 \u3000x",
    "contact |||EMAIL_ADDRESS||| or|||PHONE_NUMBER||| at |||IP_ADDRESS|||",
    "[unused0] and [unused1][unused82] [unused83]",
    "[CLS] a [SEP] b [MASK]  [MASK]c[PAD][UNK] <|endoftext|> <|padding|>",
    "cafe\u0301 e\u0301a\u0323\u0307 A\u030a \u1112\u1161\u11ab \u1e9b\u0323 \u212b \u0344 \u0958",
    # Composed by versions of Unicode that Python 3.11 does not have.
    "\U000113c2\U000113c2 \U00011382\U000113c9 \U00016d67\U00016d67 \U00016121\U0001611f",
    "  \u0301 leading mark,  \u0301  marks  \u0301after spaces",
    "ﬀ ﬁ ½ ① ² \ufb2c \U0001d15e",
    "'s 'T 're'VE 'll it's IT'S 'd'm",
    "🙂 👩\u200d💻 \u200b\ufeff \x00 \x7f \U0010ffff",
]


def published(directory: Path, **changes: Any) -> Any:
    """A tokenizer of theirs with the parts and added tokens of answerdotai/ModernBERT-base, on a small vocabulary."""
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = changes.get("normalizer", normalizers.NFC())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["|||IP_ADDRESS|||", "<|padding|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    content = json.loads(tokenizer.to_str())
    # They are words of no language and yet no special tokens there.
    for row in content["added_tokens"]:
        row |= {"special": row["content"] == "<|padding|>", "normalized": row["content"] != "<|padding|>"}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens([AddedToken(" " * length, normalized=True) for length in range(24, 1, -1)])
    tokenizer.add_tokens([AddedToken(f"|||{name}|||", normalized=True) for name in ("EMAIL_ADDRESS", "PHONE_NUMBER")])
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False, special=True)])
    tokenizer.add_special_tokens(
        [AddedToken(piece, lstrip=piece == "[MASK]", normalized=False, special=True) for piece in special]
    )
    tokenizer.add_tokens([AddedToken(f"[unused{number}]", normalized=True) for number in range(83)])
    ids = {piece: tokenizer.token_to_id(piece) for piece in special}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, ids[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    roles = {f"{piece.strip('[]').lower()}_token": piece for piece in special}
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    decoder = {
        str(number): {
            name: getattr(token, name)
            for name in ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
        }
        for number, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": True,
        "model_max_length": 8192,
        "model_input_names": ["input_ids", "attention_mask"],
        "added_tokens_decoder": decoder,
        **roles,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (directory / "special_tokens_map.json").write_text(json.dumps(roles), encoding="utf-8")
    (directory / "config.json").write_text('{"model_type": "modernbert"}', encoding="utf-8")
    return tokenizer


def ids_of(theirs: Any, text: str) -> list[int]:
    return list(theirs.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ModernBertTokenizer]:
    directory = tmp_path_factory.mktemp("published")
    theirs = published(directory)
    ours = load_tokenizer(directory, {"special_tokens_in_strings": True})
    assert type(ours) is ModernBertTokenizer
    return theirs, ours


def test_ids_of_every_kind_of_text_are_theirs(both: tuple[Any, ModernBertTokenizer]) -> None:
    theirs, ours = both
    assert [ids_of(theirs, text) for text in TEXTS] == ours.tokenize(TEXTS)
    assert [theirs.token_to_id(piece) for piece in ours.get_vocabulary()] == list(range(theirs.get_vocab_size()))


def test_ids_around_every_character_are_theirs(both: tuple[Any, ModernBertTokenizer]) -> None:
    theirs, ours = both
    letters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{''.join(letters[start : start + 16])} e" for start in range(0, len(letters), 16)]
    expected = [encoding.ids for encoding in theirs.encode_batch(texts, add_special_tokens=False)]
    assert [place for place, (a, b) in enumerate(zip(ours.tokenize(texts), expected, strict=True)) if a != b] == []


PARTS = [
    " ",
    "  ",
    " " * 5,
    "[MASK]",
    "[CLS]",
    "|||IP_ADDRESS|||",
    "<|padding|>",
    "[unused7]",
    "\n",
    "\u0301",
    "e",
    "\u0327",
    "각",
    "\u1161",
    "'s",
    "'",
    "a9",
]


@hypothesis.given(strategies.lists(strategies.sampled_from(PARTS) | strategies.text(max_size=3), max_size=12))
def test_ids_of_whatever_is_put_together_are_theirs(both: tuple[Any, ModernBertTokenizer], parts: list[str]) -> None:
    theirs, ours = both
    text = "".join(parts).encode("utf-8", "replace").decode()
    assert ours.tokenize(text).tolist() == ids_of(theirs, text)


def test_transformers_reads_what_is_written_of_it(both: tuple[Any, ModernBertTokenizer], tmp_path: Path) -> None:
    theirs, ours = both
    write_huggingface_tokenizer(ours, tmp_path, 64)
    (tmp_path / "config.json").write_text('{"model_type": "modernbert"}', encoding="utf-8")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [again(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == [
        ids_of(theirs, text) for text in TEXTS
    ]
    assert again("a", "b")["input_ids"] == theirs.encode("a", "b").ids
    assert set(again("a", "b")) == {"input_ids", "attention_mask"}
    assert load_tokenizer(tmp_path, {"special_tokens_in_strings": True}).sha256() == ours.sha256()


def test_a_file_of_ours_gives_the_same_ids(both: tuple[Any, ModernBertTokenizer], tmp_path: Path) -> None:
    _, ours = both
    ours.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.sha256() == ours.sha256() and again.tokenize(TEXTS) == ours.tokenize(TEXTS)


def test_texts_that_are_not_composed_there_are_not_here(tmp_path: Path) -> None:
    theirs = published(tmp_path, normalizer=None)
    ours = load_tokenizer(tmp_path, {"special_tokens_in_strings": True})
    assert isinstance(ours, ModernBertTokenizer) and not ours.compose
    assert ours.tokenize(TEXTS) == [ids_of(theirs, text) for text in TEXTS]
    ours.save(tmp_path / "ours")
    assert load_tokenizer(tmp_path / "ours").tokenize(TEXTS) == ours.tokenize(TEXTS)


@pytest.mark.parametrize(
    "normalizer", [normalizers.NFKC(), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])]
)
def test_another_normalisation_is_refused_by_name(normalizer: Any, tmp_path: Path) -> None:
    published(tmp_path, normalizer=normalizer)
    with pytest.raises(InputError, match="normalizer"):
        load_tokenizer(tmp_path)
