"""SentencePiece: known pieces of a small model, the families' ids, damaged models. tests/parity compares with the library."""

import struct

import pytest
import slow_references as references

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.albert_tokenizer import AlbertTokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.formats.sentence_piece_proto import write_model
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
WORDS = [("▁", -3.0), ("▁the", -2.0), ("▁fox", -4.0), ("f", -5.0), ("o", -5.0), ("x", -5.5), ("fo", -6.0), ("▁t", -3.5)]
PIECES = [(piece, score, NORMAL) for piece, score in WORDS]
SPECIAL = [("<pad>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), ("[CLS]", 0.0, CONTROL), ("[SEP]", 0.0, CONTROL)]
ALBERT = references.spm_proto([*SPECIAL, ("[MASK]", 0.0, CONTROL), *PIECES])
XLMR_SPECIAL = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
XLMR = references.spm_proto([*XLMR_SPECIAL, *PIECES])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the fox", ["▁the", "▁fox"]),
        ("  the   fox ", ["▁the", "▁fox"]),
        ("fo", ["▁", "fo"]),
        # Unknown characters in a row are one unknown piece; a word's mark is known.
        ("zz fox", ["▁", "<unk>", "▁fox"]),
        ("thez zfox", ["▁the", "<unk>", "▁", "<unk>", "fo", "x"]),
        # A mark that stands in the text starts a word, and is dropped at the end.
        ("the▁fox▁", ["▁the", "▁fox"]),
        ("[MASK]", ["▁", "<unk>"]),
        ("", []),
        ("   ", []),
    ],
)
def test_pieces(text: str, expected: list[str]) -> None:
    tokenizer = AlbertTokenizer(proto=ALBERT)
    # The second time the words come from the cache.
    for _ in range(2):
        assert [tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize(text)] == expected


def test_xlm_roberta_has_the_ids_of_fairseq() -> None:
    tokenizer = XLMRobertaTokenizer(proto=XLMR)
    assert tokenizer.get_vocabulary() == ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece, _ in WORDS), "<mask>"]
    assert tokenizer.vocabulary_size() == len(XLMR_SPECIAL) + len(WORDS) + 2
    assert tokenizer.tokenize(["the z", "fox"]) == [[5, 4, 3], [6]]
    assert tokenizer.token_to_id("no piece") == 3
    assert tokenizer.mask_token_id == tokenizer.vocabulary_size() - 1
    asked = tokenizer.encode_batch(["the <mask> fox</s>"], special_tokens_in_strings=True)
    assert asked.token_ids.tolist() == [5, tokenizer.mask_token_id, 6, 2]


def test_user_defined_symbols_are_always_found() -> None:
    proto = references.spm_proto([*SPECIAL, ("[MASK]", 0.0, USER_DEFINED), *PIECES])
    tokenizer = AlbertTokenizer(proto=proto)
    assert tokenizer.tokenize("the[MASK]fox").tolist() == [6, 4, 11, 10]


def test_unused_pieces_are_not_used() -> None:
    pieces = [(piece, score, UNUSED if piece == "▁fox" else kind) for piece, score, kind in PIECES]
    tokenizer = SentencePieceTokenizer(references.spm_proto([*XLMR_SPECIAL, *pieces]))
    assert [tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize("fox")] == ["▁", "fo", "x"]


def test_byte_fallback_and_ends() -> None:
    bytes_ = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    tokenizer = SentencePieceTokenizer(
        references.spm_proto([*XLMR_SPECIAL, *PIECES, *bytes_], trainer=b"\x98\x02\x01"), add_bos=True, add_eos=True
    )
    pieces = [[tokenizer.id_to_token(token_id) for token_id in row] for row in tokenizer.tokenize(["é", "", "the"])]
    assert pieces == [["<s>", "▁", "<0xC3>", "<0xA9>", "</s>"], ["<s>", "</s>"], ["<s>", "▁the", "</s>"]]
    assert tokenizer.detokenize(tokenizer.tokenize("é fox")) == "é fox"


def test_word_models_look_words_up() -> None:
    tokenizer = SentencePieceTokenizer(references.spm_proto([*XLMR_SPECIAL, *PIECES], model_type=3))
    assert tokenizer.tokenize("the fox f fox").tolist() == [4, 5, 0, 5]


def test_word_starts_and_decoding() -> None:
    tokenizer = AlbertTokenizer(proto=ALBERT)
    starts = tokenizer.word_starts()
    assert [starts[tokenizer.token_to_id(piece)] for piece in ("▁the", "▁", "fo", "[CLS]")] == [
        True,
        True,
        False,
        False,
    ]
    assert tokenizer.detokenize(tokenizer.tokenize(" the  fo")) == "the fo"


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (ALBERT[:-3], "breaks off at byte"),
        (ALBERT[:50], "breaks off at byte"),
        (b"", "must hold pieces"),
        (b"\xff" * 20, "SentencePiece model"),
        (references.spm_proto(PIECES), "one unknown piece"),
        (references.spm_proto([*SPECIAL, *PIECES]), r"special token \[MASK\]"),
        (references.spm_proto([*SPECIAL, *PIECES, PIECES[0]]), "'▁' as 4 and 12"),
        (references.spm_proto([*SPECIAL, *PIECES], model_type=2), "must be Unigram"),
        ("no/such/file.spm", "no/such/file.spm is not"),
    ],
)
def test_bad_models_are_refused_with_the_place(proto: bytes | str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlbertTokenizer(proto=proto)


def damaged(piece: str, score: float = -1.0, kind: int = NORMAL) -> bytes:
    """A model whose last piece is this one."""
    return references.spm_proto([*XLMR_SPECIAL, *PIECES, (piece, score, kind)])


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (damaged("a", score=float("nan")), "within 1e9 of 0, piece 11 of the proto has nan"),
        (damaged("a", score=float("-inf")), "piece 11 of the proto has -inf"),
        (damaged("a", score=3e38), "piece 11 of the proto has 3"),
        (damaged("a", kind=0), "must be 1 to 6, piece 11 of the proto has 0"),
        (damaged("a", kind=7), "must be 1 to 6, piece 11 of the proto has 7"),
        (damaged("<0x4G>", kind=BYTE), "one of <0x00> to <0xFF>, piece 11 of the proto is '<0x4G>'"),
        (damaged("<0x41>", kind=BYTE), "should hold 0 and holds 1"),
        (damaged(""), "piece 11 of the proto is"),
        (references.spm_proto([*XLMR_SPECIAL, *PIECES], trainer=b"\x98\x02\x01"), "should hold 256 and holds 0"),
        # Fields written in another way: a piece as a number (once: that many zero bytes), a score as text.
        (b"\x0a\x0b\x08" + b"\xff" * 8 + b"\x7f" + b"\x01", "byte 0 is no field of one"),
        (b"\x0a\x06\x0a\x01a\x12\x01a", "byte 3 is no field of one"),
        (b"\x0a\x07\x0a\x01a\x15\x00\x00\x00", "breaks off at byte 7"),
        (b"\x02\x01a", "byte 0 is no field of one"),
    ],
)
def test_hostile_pieces_are_refused(proto: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SentencePieceTokenizer(proto)


def rules(units: dict[int, int], replacements: bytes, num_units: int = 256) -> bytes:
    """A model with a table of rules: unit number -> unit."""
    table = struct.pack(f"<I{num_units}I", 4 * num_units, *(units.get(number, 0) for number in range(num_units)))
    return write_model([("<unk>", 0.0, UNKNOWN), ("b", -1.0, NORMAL)], table + replacements)


# The rule for "a" (unit 97) ends, and its value stands in unit 96.
ENDS_AT_96 = 97 | 1 << 8 | 1 << 10


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (rules({97: ENDS_AT_96, 96: 1 << 31}, b"b"), "their last does not end"),
        (rules({97: ENDS_AT_96, 96: 1 << 31 | 2}, b"b\0"), "their 2 bytes of replacements, unit 96 points to 2"),
        (rules({97: ENDS_AT_96, 96: (1 << 32) - 1}, b"b\0"), "unit 96 points to 2147483647"),
        (rules({97: 97 | 1 << 8 | 2**20 << 10}, b"b\0"), "their index of 256 units, unit 97 points to 1048673"),
        (rules({97: 97 | 1 << 8 | 1 << 9 | 1 << 10}, b"b\0"), "their index of 256 units, unit 97 points to 353"),
        (rules({97: ENDS_AT_96, 96: 1 << 31}, b"b" * 256 + b"\0"), "by at most 255 bytes, one of the proto has 256"),
        (rules({}, b""), "their index is damaged"),
        (write_model([("<unk>", 0.0, UNKNOWN)], b"\x00\x01"), "their index is damaged"),
        (write_model([("<unk>", 0.0, UNKNOWN)], b"\x05\0\0\0" + b"a" * 5 + b"\0"), "their index is damaged"),
    ],
)
def test_rules_that_point_outside_are_refused(proto: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SentencePieceTokenizer(proto)


@pytest.mark.parametrize(
    ("proto", "text", "expected"),
    [
        (rules({97: ENDS_AT_96, 96: 1 << 31}, b"b\0"), "a", [0, 1]),
        (rules({97: ENDS_AT_96, 96: 1 << 31}, b"b" * 255 + b"\0"), "aa", [0, *[1] * 510]),
        # A walk that goes round and round ends with the text.
        (rules({97: 97, 0: 0}, b"b\0"), "a" * 50, [0]),
    ],
)
def test_rules_that_point_inside_are_followed(proto: bytes, text: str, expected: list[int]) -> None:
    assert SentencePieceTokenizer(proto).tokenize(text).tolist() == expected


def test_settings_that_stand_twice_are_one_message() -> None:
    # As protocol buffers have it; the later message does not take the rules away.
    proto = rules({97: ENDS_AT_96, 96: 1 << 31}, b"b\0") + b"\x1a\x02\x18\x00"
    assert SentencePieceTokenizer(proto).tokenize("a").tolist() == [1]


def test_xlm_roberta_needs_its_first_pieces() -> None:
    with pytest.raises(InputError, match="begin with the pieces <unk>, <s>, </s>"):
        XLMRobertaTokenizer(proto=ALBERT)
