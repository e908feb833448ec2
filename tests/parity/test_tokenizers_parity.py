"""Every family against its reference implementation: corpora, all of Unicode, and random text.

Needs the extra `parity`. Corpora are read from the files named in CLOZEKIT_PARITY_CORPORA (separated by ":", `.jsonl.gz`
with a field "text" or lines of text) and from the BERT vocabulary in CLOZEKIT_PARITY_BERT_VOCABULARY, or, where the
checkout stands beside a folder `shared/data`, from there; without them those tests skip and say so. Of long corpora the
first 3 MB are compared, of planes without characters the ends; CLOZEKIT_PARITY=full compares everything.
"""

import functools
import gzip
import io
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from long_variants import PARITY_FULL as FULL

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")
tiktoken = pytest.importorskip("tiktoken")

from clozekit.tokenizers.byte_pair import byte_characters  # noqa: E402
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer  # noqa: E402
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer  # noqa: E402
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer  # noqa: E402
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer  # noqa: E402
from clozekit.tokenizers.formats.sentence_piece_proto import read_model  # noqa: E402
from clozekit.tokenizers.learning.learn_word_pieces import count_lowercased_words, learn_wordpiece  # noqa: E402
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer  # noqa: E402

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LIMIT_BYTES = 10**12 if FULL else 3_000_000
# Pieces of all kinds: contractions, controls, joiners, marks in odd orders, right-to-left, wide and astral characters.
ATOMS = [
    " ",
    "  ",
    "\n",
    "\t",
    "\r",
    "'",
    "'s",
    "'LL",
    "'re",
    "a",
    "b",
    "Z",
    "the",
    "1",
    "½",
    "²",
    "-",
    "!",
    "_",
    "[MASK]",
]
ATOMS += [
    "\u00a0",
    "\u3000",
    "é",
    "e\u0301",
    "\u0301\u0323",
    "\u0323\u0301",
    "日本",
    "한",
    "ﷺ",
    "\u200b",
    "\u200d",
    "\ufeff",
]
ATOMS += [
    "🙂",
    "👩\u200d💻",
    "אב",
    "ع\u064b",
    "\0",
    "\x7f",
    "\x85",
    "\x1c",
    "ſ",
    "ß",
    "İ",
    "ﬁ",
    "″",
    "…",
    "‑",
    "▁",
    "<s>",
    "x" * 30,
]


def corpora() -> list[Path]:
    named = os.environ.get("CLOZEKIT_PARITY_CORPORA")
    if named:
        return [Path(name) for name in named.split(":")]
    return [path for path in (SHARED / "cpp_docs.jsonl.gz", SHARED / "wikitext2_valid.txt") if path.is_file()]


def bert_vocabulary() -> list[str] | None:
    path = Path(os.environ.get("CLOZEKIT_PARITY_BERT_VOCABULARY", SHARED / "bert_uncased_vocab.txt"))
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else None


@functools.cache
def corpus_texts() -> list[str]:
    found: list[str] = []
    for path in corpora():
        size = 0
        open_ = gzip.open if path.suffix == ".gz" else open
        with open_(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                found.append(json.loads(line)["text"] if ".jsonl" in path.name else line.rstrip("\n"))
                size += len(found[-1].encode())
                if size > LIMIT_BYTES:
                    break
    return found


@functools.cache
def learning_texts() -> list[str]:
    """What vocabularies are learned from: the corpora, or this file's own atoms."""
    generator = random.Random(0)
    own = ["".join(generator.choices(ATOMS, k=30)) for _ in range(300)]
    documents = corpus_texts()
    return own + [line for text in documents[:: max(1, len(documents) // 400)] for line in text.split("\n")]


@functools.cache
def code_points() -> list[int]:
    """All but the surrogates; by default of the planes without characters, or of private ones, only the ends."""
    ends = {
        plane * 0x10000 + offset
        for plane in range(4, 17)
        for place in (0, 0xFF00)
        for offset in range(place, place + 256)
    }
    ends.update(range(0xE0000, 0xE1000))
    return [
        point
        for point in range(0x110000)
        if not 0xD800 <= point < 0xE000 and (FULL or point < 0x40000 or point in ends)
    ]


def texts_of(kind: str) -> list[str]:
    generator = random.Random(1)
    if kind == "corpora":
        if not corpus_texts():
            pytest.skip("no corpora: set CLOZEKIT_PARITY_CORPORA")
        return corpus_texts()
    if kind == "unicode":
        points = [chr(point) for point in code_points()]
        forms = ["{}", "a{}b", " {}1 x"] if FULL else ["a{}b"]
        # Many to a text, apart from each other: a call for each code point would take minutes.
        return [form.replace("{}", point) for form in forms for point in points]
    random_texts = [
        "".join(generator.choices(ATOMS, k=generator.randint(0, 40))) for _ in range(200_000 if FULL else 20_000)
    ]
    words = ["".join(generator.choices("etaoinshr", k=length)) for length in (99, 100, 101, 1_000, 10_000)]
    return [*random_texts, "", " ", "a" * 10_000, *words, *("é" * length for length in (99, 100, 101, 5_000))]


KINDS = ["corpora", "unicode", "random"]


def rows_of(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    batch = tokenizer.encode_batch(texts)
    ids = batch.token_ids.tolist()
    position = 0
    for length in batch.row_lengths.tolist():
        yield ids[position : position + length]
        position += length


def assert_same(texts: Sequence[str], own: Iterator[list[int]], reference: Iterator[list[int]]) -> None:
    different = [(t, a, b) for t, a, b in zip(texts, own, reference, strict=True) if a != b]
    assert not different, f"{len(different)} of {len(texts)} differ, first: {different[0]!r}"[:2000]


def hugging_face_rows(rust: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), 10_000):
        for encoding in rust.encode_batch_fast(texts[start : start + 10_000], add_special_tokens=False):
            yield encoding.ids


@functools.cache
def differs_in_hugging_face(lowercase: bool) -> frozenset[str]:
    """The code points named in tokenizers/README.md: those whose class or lower case in the Rust port is another.

    Its tables are of older Unicode versions, it deletes private-use characters, its CJK block of extension E starts 256
    too late, and it lower-cases a sigma without its context. Ours follows google-research/bert.
    """
    from clozekit.tokenizers.kernels.bert_tables import (
        CJK,
        EXPAND,
        MARK,
        MARK_STARTER,
        PUNCT,
        REMOVED,
        SPLIT,
        bert_tables,
    )

    tables = bert_tables(lowercase, lowercase, True, True)
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    found = {"Σ"} if lowercase else set()
    for point in code_points():
        if point < 0x80:
            continue
        character = chr(point)
        parts = [part for part, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(f"a{character}b"))]
        kind, place = tables.kinds[point], tables.expansion[point]
        changed = tables.expanded[place + 1 : place + 1 + tables.expanded[place]].tolist() if place else [point]
        middle = "".join(map(chr, changed))
        if kind in (REMOVED, MARK, MARK_STARTER):
            expected = ["ab"]
        elif kind == SPLIT:
            expected = ["a", "b"]
        elif kind in (PUNCT, CJK) or (kind == EXPAND and all(tables.kinds[ord(c)] == PUNCT for c in middle)):
            expected = ["a", *middle, "b"] if kind != CJK else ["a", middle, "b"]
        else:
            expected = [f"a{middle}b"]
        if parts != expected:
            found.add(character)
    return frozenset(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece_as_in_hugging_face(kind: str, lowercase: bool) -> None:
    texts = texts_of(kind)
    named = differs_in_hugging_face(lowercase)
    kept = [text for text in texts if not named.intersection(text)]
    # The corpora hold next to none of them; a text with one is compared with the original in tests/tokenizers.
    assert kind == "unicode" or len(kept) > 0.999 * len(texts)
    vocabulary = bert_vocabulary() or ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind != "corpora" or bert_vocabulary() is None:
        # Each character a piece, or nearly all would be one unknown piece.
        characters = sorted({c for text in kept for c in text} - {"\n", "\r"})
        lowered = sorted({c for character in characters for c in character.lower()})
        vocabulary = list(dict.fromkeys([*vocabulary, *(m + c for c in [*characters, *lowered] for m in ("", "##"))]))
    own = BertTokenizer(vocabulary, lowercase=lowercase)
    ids = {piece: token_id for token_id, piece in enumerate(vocabulary)}
    rust = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    rust.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    rust.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    assert_same(kept, rows_of(own, kept), hugging_face_rows(rust, kept))


def test_the_named_differences_are_few() -> None:
    private_use = {
        chr(point) for point in [*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE)]
    } & set(map(chr, code_points()))
    cjk_e = {chr(point) for point in range(0x2B820, 0x2B920)}
    rest = differs_in_hugging_face(True) - private_use - cjk_e
    assert private_use <= differs_in_hugging_face(True) and cjk_e <= differs_in_hugging_face(True)
    assert len(rest) < 1000


@functools.cache
def learned_byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    learner = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(learning_texts(), vocab_size=8_000, special_tokens=special, show_progress=False)
    described = json.loads(learner.to_str())["model"]
    return described["vocab"], [tuple(merge) for merge in described["merges"]]


@pytest.mark.parametrize("kind", KINDS)
def test_byte_pairs_as_in_hugging_face(kind: str) -> None:
    vocabulary, merges = learned_byte_pairs()
    texts = texts_of(kind)
    own = RobertaTokenizer(vocabulary, merges)
    rust = tokenizers.ByteLevelBPETokenizer(vocabulary, merges)._tokenizer
    assert_same(texts, rows_of(own, texts), hugging_face_rows(rust, texts))


@pytest.mark.parametrize("kind", KINDS)
def test_byte_pairs_as_in_tiktoken(kind: str) -> None:
    vocabulary, merges = learned_byte_pairs()
    texts = texts_of(kind)
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    pieces = [*byte_characters(), *(left + right for left, right in merges)]
    ranks = {bytes(byte_of[character] for character in piece): rank for rank, piece in enumerate(pieces)}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    encoding = tiktoken.Encoding("learned", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    ids = [vocabulary[piece] for piece in pieces]
    reference = ([ids[rank] for rank in encoding.encode_ordinary(text)] for text in texts)
    assert_same(texts, rows_of(RobertaTokenizer(vocabulary, merges), texts), reference)


def test_byte_pairs_are_given_back() -> None:
    vocabulary, merges = learned_byte_pairs()
    tokenizer = RobertaTokenizer(vocabulary, merges)
    for text in [*texts_of("random")[::20], *corpus_texts()[::50], "\ud800", "a\udfff b"]:
        assert tokenizer.detokenize(tokenizer.tokenize(text)) == text


@functools.cache
def learned_proto(family: type) -> bytes:
    settings: dict[str, Any] = {"normalization_rule_name": "nmt_nfkc"}
    if family is AlbertTokenizer:
        settings = {"normalization_rule_name": "nmt_nfkc_cf", "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
        settings |= {"control_symbols": "[CLS],[SEP]", "user_defined_symbols": "[MASK],(,)"}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(learning_texts()),
        model_writer=out,
        vocab_size=4_000,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **settings,
    )
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [AlbertTokenizer, XLMRobertaTokenizer])
def test_sentence_pieces_as_in_sentencepiece(kind: str, family: type) -> None:
    proto = learned_proto(family)
    texts = texts_of(kind)
    if kind == "corpora":
        # Sums so large that their rounding decides between nearly equal paths.
        texts = [*texts, " ".join(texts[: len(texts) // 2])]
    own = family(proto)
    reference = sentencepiece.SentencePieceProcessor(model_proto=proto)
    ids = [own.token_to_id(piece) for piece in read_model(proto, "").pieces]
    rows = (row for start in range(0, len(texts), 1_000) for row in reference.encode(texts[start : start + 1_000]))
    assert_same(texts, rows_of(own, texts), ([ids[token_id] for token_id in row] for row in rows))


@pytest.mark.parametrize("piece", ["(", "<ab>", "éü", "[VERYLONGMASK]"])
def test_user_defined_pieces_of_any_length_as_in_sentencepiece(piece: str) -> None:
    """Their bonus grows with their bytes; what it is shows in which of two equally likely paths wins behind them."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(learning_texts()),
        model_writer=out,
        vocab_size=4_000,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        user_defined_symbols=[piece],
    )
    generator = random.Random(3)
    parts = ["ZZZ", "a", "é", "the", "xx", "½", "ßß", "xxx", "éé", piece]
    texts = ["".join(generator.choices(parts, k=generator.randint(3, 14))) for _ in range(4_000)]
    own = SentencePieceTokenizer(out.getvalue())
    reference = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    assert_same(texts, rows_of(own, texts), iter(reference.encode(texts)))


@pytest.mark.parametrize("family", [AlbertTokenizer, XLMRobertaTokenizer])
def test_sentence_pieces_decode_as_in_sentencepiece(family: type) -> None:
    proto = learned_proto(family)
    own, reference = family(proto), sentencepiece.SentencePieceProcessor(model_proto=proto)
    for text in [*texts_of("random")[::40], *corpus_texts()[::100]]:
        assert own.detokenize(own.tokenize(text)) == reference.decode(reference.encode(text))


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_transformers_reads_our_files_and_gives_the_same_ids(family: str, tmp_path: Path) -> None:
    # Transformers' own classes for SentencePiece go through Hugging Face's Unigram, whose differences the docs name.
    transformers = pytest.importorskip("transformers")
    if family == "bert":
        own: Any = BertTokenizer(learn_wordpiece(count_lowercased_words(learning_texts()), 6_000), lowercase=True)
        own.save_assets(tmp_path)
        theirs = transformers.BertTokenizer(vocab=str(tmp_path / "vocabulary.txt"), do_lower_case=True)
        named = differs_in_hugging_face(True)
        texts = [text for text in texts_of("random")[:5_000] if not named.intersection(text)]
    else:
        own = RobertaTokenizer(*learned_byte_pairs())
        own.save_assets(tmp_path)
        vocabulary = json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))
        merges = [tuple(line.split(" ")) for line in (tmp_path / "merges.txt").read_text("utf-8").splitlines()]
        theirs = transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)
        texts = texts_of("random")[:5_000]
    # It always takes special tokens in a text for what they name.
    texts = [text for text in texts if not any(token in text for token in own.special_tokens)]
    assert len(texts) > 1_000
    assert_same(texts, rows_of(own, texts), iter(theirs(texts, add_special_tokens=False)["input_ids"]))


def test_lone_surrogates_are_three_malformed_bytes() -> None:
    proto = learned_proto(XLMRobertaTokenizer)
    reference = sentencepiece.SentencePieceProcessor(model_proto=proto)
    own = XLMRobertaTokenizer(proto)
    expected = [own.token_to_id(reference.id_to_piece(i)) for i in reference.encode(b"a\xed\xa0\x80b")]
    assert own.tokenize("a\ud800b").tolist() == expected


def test_keras_hub_presets_of_tokenizers_load_both_ways(tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    vocabulary, merges = learned_byte_pairs()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh")]
    ours = [BertTokenizer(pieces, lowercase=True), RobertaTokenizer(vocabulary, merges)]
    ours += [family(learned_proto(family)) for family in (AlbertTokenizer, XLMRobertaTokenizer)]
    from clozekit.tokenizers.families.load_tokenizer import load_tokenizer

    for tokenizer in ours:
        name = type(tokenizer).__name__
        tokenizer.save(tmp_path / name)
        # The rest of a preset: KerasHub finds the tokenizer's class through its backbone.
        theirs_class = getattr(keras_hub.models, name)
        config = json.loads((tmp_path / name / "tokenizer.json").read_text())["config"]
        theirs = (
            theirs_class(**{"vocabulary": None, **{k: v for k, v in config.items() if k != "config_file"}})
            if ("Bert" in name and "Ro" not in name and "Al" not in name)
            else theirs_class.from_config({k: v for k, v in config.items() if k != "config_file"})
        )
        theirs.load_assets(str(tmp_path / name / "assets" / "tokenizer"))
        text = "abc hgf the"
        assert [int(i) for i in theirs(text)] == tokenizer.tokenize(text).tolist()
        saved = tmp_path / f"{name}_theirs"
        (saved / "assets" / "tokenizer").mkdir(parents=True)
        theirs.save_assets(str(saved / "assets" / "tokenizer"))
        described = {"class_name": name, "config": theirs.get_config()}
        (saved / "tokenizer.json").write_text(json.dumps(described))
        assert load_tokenizer(saved).tokenize(text).tolist() == tokenizer.tokenize(text).tolist()
