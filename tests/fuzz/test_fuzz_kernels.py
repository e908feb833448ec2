"""Mutated models, vocabularies and merges: refused in one line, or encoded inside the bounds of every array."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checked_kernels import CheckedArray, OutOfBounds, check_kernels, checked
from fuzzing import damaged_bytes, damaged_json, dice_of_cases

from clozekit.tokenizers.byte_pair import BytePairTokenizer, byte_characters
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.sentence_piece_proto import BYTE, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, write_model
from clozekit.tokenizers.kernels.trie import child
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer
from clozekit.tokenizers.wordpiece import WordPieceTokenizer

# Of each plane some, and what the kernels treat in a way of its own.
ALPHABET = "aabbc AB.,'\t\n\0\x7f  ▁éÉßΣσςİſﬁ中文がハ한글\u0301\u0345\u200b\u00a0\u3000\ufffd\ud800\udfff😀𝒜\U00020000\U000e0001\U00100000"
PIECES = ["a", "b", "ab", "▁", "▁a", "c", "é", "中", "中文", "😀", "が", ".", "▁ab", "bc", "\u0301", "A", "▁▁"]


def random_word(dice: random.Random, longest: int = 6) -> str:
    return "".join(
        dice.choice(ALPHABET) if dice.random() < 0.9 else chr(dice.randrange(0x110000))
        for _ in range(dice.randint(1, longest))
    )


def random_texts(dice: random.Random) -> list[bytes]:
    """Texts of all planes, runs, NULs, malformed UTF-8, each also a second time, when its words are remembered."""
    texts = []
    for _ in range(dice.randint(1, 4)):
        kind = dice.randrange(8)
        text = random_word(dice, 40).encode("utf-8", "surrogatepass")
        if kind == 0:
            text = damaged_bytes(text, dice)
        elif kind == 1:
            text = dice.randbytes(dice.randint(0, 60))
        elif kind == 2:
            text = text[: dice.choice((2, 9))] * dice.choice((1, 25, 130))
        elif kind == 3:
            text = " ".join(dice.choices(PIECES, k=12)).encode()
        texts.append(text)
    return texts + texts


def check_encoding(make: Callable[[], Tokenizer], dice: random.Random) -> bool:
    """Whether `make` gave a tokenizer. Its ids are those of its vocabulary, checked and compiled alike."""
    texts = random_texts(dice)
    with pytest.MonkeyPatch.context() as patch:
        check_kernels(patch)
        try:
            tokenizer = make()
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            return False
        expected = tokenizer.encode_batch(texts)
    ids, lengths = make().encode_batch(texts)
    assert np.array_equal(ids, expected.token_ids) and np.array_equal(lengths, expected.row_lengths)
    assert len(ids) == 0 or 0 <= ids.min() <= ids.max() < tokenizer.vocabulary_size()
    assert ids[: len(ids) // 2].tolist() == ids[len(ids) // 2 :].tolist()
    tokenizer.decode(ids.tolist()).encode("utf-8", "surrogatepass")
    return True


def random_rules(dice: random.Random) -> bytes:
    """A table of normalisation rules that no trainer wrote, in which walks go far; in half of them some offsets lead out."""
    blocks = dice.choice((1, 2, 3, 4))
    replacements = b"".join(dice.choice((b"", b"a", b" ", b"xyz", "é".encode(), b"\xe2")) + b"\0" for _ in range(9))
    hostile = dice.random() < 0.5
    units = []
    for number in range(256 * blocks):
        # The children of a unit fill a block, whose first unit is the value: each byte leads on.
        offset = number ^ 256 * dice.randrange(blocks)
        unit = (number & 255) | offset << 10 | dice.choice((0, 1 << 8))
        if number % 256 == 0 and number:
            unit = 1 << 31 | dice.randrange(len(replacements))
        if hostile and dice.random() < 0.02:
            unit ^= dice.choice((1 << 31, 1 << 9, dice.randrange(2**22) << 10, 1 << dice.randrange(31)))
        units.append(unit)
    # The root has no value.
    units[0] = 256 * dice.randrange(blocks) << 10
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + replacements + dice.choice((b"", b"", b"end\0"))


@pytest.fixture(scope="module")
def good_rules() -> bytes:
    import sentencepiece

    from clozekit.tokenizers.formats.sentence_piece_proto import read_rules

    rules = [("A", "a"), ("ab", "中"), ("ﬁ", "fi"), ("\u3000", " "), ("\t", " "), ("\u200b", ""), ("''", '"')]
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=rules)
    return read_rules(normalizer.serialized_model_proto(), "the rules")


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def random_model(dice: random.Random, rules: bytes) -> bytes:
    kinds = (NORMAL, NORMAL, NORMAL, NORMAL, USER_DEFINED, UNUSED)
    score = (lambda: dice.choice((0.0, 1e9, -1e9, -3e4))) if dice.random() < 0.1 else lambda: dice.uniform(-12, 0)
    pieces = dict.fromkeys([*dice.sample(PIECES, dice.randint(1, len(PIECES))), random_word(dice)])
    rows = [("<unk>", 0.0, UNKNOWN)]
    rows += [(piece.encode("utf-8", "ignore").decode() or "z", score(), dice.choice(kinds)) for piece in pieces]
    trainer, spaces = b"", b""
    if dice.random() < 0.2:
        rows += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
        trainer += b"\x98\x02\x01"
    if dice.random() < 0.2:
        trainer += b"\xc0\x01\x01"
    if dice.random() < 0.2:
        trainer += b"\x18\x03"
    for option in (3, 4, 5):
        if dice.random() < 0.2:
            spaces += bytes([option << 3, 0])
    return write_model(rows) + field(2, trainer) + field(3, field(2, rules) + spaces)


@pytest.mark.slow
def test_fuzz_random_rule_tables() -> None:
    taken = [
        check_encoding(lambda: SentencePieceTokenizer(model), dice)  # noqa: B023
        for _, dice in dice_of_cases(100)
        if (model := random_model(dice, random_rules(dice)))
    ]
    assert 0.1 < sum(taken) / len(taken) < 0.95


@pytest.mark.slow
def test_fuzz_sentence_piece_models(good_rules: bytes) -> None:
    taken = []
    for _, dice in dice_of_cases(120):
        kind = dice.randrange(3)
        model = random_model(dice, damaged_bytes(good_rules, dice) if kind == 0 else good_rules)
        model = damaged_bytes(model, dice) if kind == 1 else model
        taken.append(check_encoding(lambda: SentencePieceTokenizer(model), dice))  # noqa: B023
    assert 0.2 < sum(taken) / len(taken) < 0.95


def test_fuzz_wordpiece_vocabularies(tmp_path: Path) -> None:
    path, taken = tmp_path / "vocab.txt", []
    for _, dice in dice_of_cases(150):
        pieces = ["[UNK]", *dice.sample(PIECES, 8), *("##" + piece for piece in dice.sample(PIECES, 8))]
        pieces += [random_word(dice).replace("\n", "") for _ in range(5)]
        content = "\n".join(dict.fromkeys(pieces)).encode("utf-8", "replace")
        path.write_bytes(damaged_bytes(content, dice) if dice.random() < 0.7 else content)
        options = {name: dice.random() < 0.5 for name in ("lowercase", "strip_accents", "split", "split_on_cjk")}
        suffix = dice.choice(("##", "a", "é", "nowhere", "\0"))
        taken.append(check_encoding(lambda: WordPieceTokenizer(path, suffix_indicator=suffix, **options), dice))  # noqa: B023
    assert 0.2 < sum(taken) / len(taken) < 0.95


def test_fuzz_byte_pair_vocabularies_and_merges(tmp_path: Path) -> None:
    symbols, taken = byte_characters(), []
    names = [tmp_path / "vocab.json", tmp_path / "merges.txt"]
    for _, dice in dice_of_cases(150):
        parts = [*dice.sample(symbols, dice.choice((30, 256))), *"abcĠ"]
        merges = []
        for _ in range(dice.randint(0, 30)):
            left, right = dice.choice(parts), dice.choice(parts)
            merges.append(f"{left} {right}")
            parts.append(left + right)
        dice.choice((dice.shuffle, len))(merges)
        pieces = dict.fromkeys(
            [*dice.choice(([], ["<unk>"])), *dice.sample(parts, len(parts) - dice.choice((0, 0, 3)))]
        )
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        damaged = dice.randrange(4)
        contents = [
            json.dumps(damaged_json(vocabulary, dice) if damaged == 0 else vocabulary).encode(),
            "\n".join(["#version: 0.2", *merges]).encode(),
        ]
        if damaged in (1, 2):
            contents[damaged - 1] = damaged_bytes(contents[damaged - 1], dice)
        for name, content in zip(names, contents, strict=True):
            name.write_bytes(content)
        taken.append(check_encoding(lambda: BytePairTokenizer(*names, add_prefix_space=False), dice))
    assert 0.2 < sum(taken) / len(taken) < 0.95


@pytest.mark.parametrize("byte", [-1, 300])
def test_an_index_outside_is_found(byte: int) -> None:
    with pytest.raises(OutOfBounds):
        checked(child)(np.zeros((10, 4), np.int32), 0, byte)
    array = np.arange(3).view(CheckedArray)
    for place in (-1, 3, slice(0, 4), slice(-1, None)):
        with pytest.raises(OutOfBounds):
            array[place]
