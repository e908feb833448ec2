"""WordPiece: known pieces, BERT's normalisation, and any text against a slow version of the original."""

import unicodedata

import pyarrow as pa
import pytest
import slow_references as references
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.kernels.bert_tables import bert_tables
from clozekit.tokenizers.wordpiece import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-[]#"]
PIECES = [
    *SPECIAL,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "the",
    "qu",
    "##ick",
    "cafe",
    "σ",
    "ς",
    "##σ",
    "##ς",
]
IDS = {piece: token_id for token_id, piece in enumerate(PIECES)}


def pieces_of(text: str, **options: bool) -> list[str]:
    tokenizer = BertTokenizer(PIECES, **options)
    return [PIECES[token_id] for token_id in tokenizer.encode_batch([text]).token_ids]


@pytest.mark.parametrize(
    ("text", "lowercase", "expected"),
    [
        ("The quick.", True, "the qu ##ick ."),
        ("The quick.", False, "[UNK] qu ##ick ."),
        ("Café", True, "cafe"),
        ("Cafe\u0301", True, "cafe"),
        ("Café", False, "[UNK]"),
        # Compatibility decomposition is not applied: ½ stays one character, which this vocabulary lacks.
        ("½", True, "[UNK]"),
        ("a中b", True, "a [UNK] b"),
        ("a\u200bb\x07c\0d\ufffde", True, "a ##b ##c ##d ##e"),
        ("a\u00a0b\u3000c\u2028d", True, "a b c d"),
        ("a!!b", True, "a ! ! b"),
        ("a" * 100, True, "a" + " ##a" * 99),
        ("a" * 101, True, "[UNK]"),
        ("é" * 101, True, "[UNK]"),
        # A final sigma has its own letter, as in Python's `lower`; controls and marks do not end a word.
        ("ΣΣ Σ", True, "σ ##ς σ"),
        ("[MASK]", True, "[ m ##a ##s ##k ]"),
        ("", True, ""),
        (" \n\t ", True, ""),
    ],
)
def test_pieces(text: str, lowercase: bool, expected: str) -> None:
    assert pieces_of(text, lowercase=lowercase) == expected.split()


def test_special_tokens_in_text_are_text_unless_asked_for() -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=True)
    asked = tokenizer.encode_batch(["a [MASK]b", "", "[SEP][SEP]", "c"], special_tokens_in_strings=True)
    assert asked.token_ids.tolist() == [IDS[p] for p in ("a", "[MASK]", "b", "[SEP]", "[SEP]", "c")]
    assert asked.row_lengths.tolist() == [3, 0, 2, 1]
    assert BertTokenizer(PIECES, special_tokens_in_strings=True).tokenize("[CLS]").tolist() == [IDS["[CLS]"]]


def test_word_starts_are_pieces_without_the_suffix_mark() -> None:
    starts = BertTokenizer(PIECES).word_starts()
    assert starts[IDS["the"]] and not starts[IDS["##ick"]] and not starts[IDS["[MASK]"]] and starts[IDS["[UNK]"]]


def test_options_change_one_thing_each() -> None:
    def ids(text: str, **options: bool) -> list[str]:
        tokenizer = WordPieceTokenizer(["[UNK]", "Café", "café", "Cafe", "中中", "a b", "a", "b"], **options)
        return [tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize(text)]

    assert ids("Café") == ["Café"]
    assert ids("Café", lowercase=True, strip_accents=False) == ["café"]
    assert ids("Café", strip_accents=True) == ["Cafe"]
    assert ids("中中") == ["[UNK]", "[UNK]"]
    assert ids("中中", split_on_cjk=False) == ["中中"]
    assert ids("a b") == ["a", "b"]
    assert ids("a b", split=False) == ["a b"]


def test_every_form_of_input_gives_the_same_ids() -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=True)
    texts = ["The quick.", "", "é a", "x"]
    expected = tokenizer.encode_batch(texts)
    array = pa.array(["dropped", *texts])[1:]
    for given_texts in (array, array.cast(pa.large_string()), pa.chunked_array([array[:1], array[1:]]), tuple(texts)):
        batch = tokenizer.encode_batch(given_texts)
        assert batch.token_ids.tolist() == expected.token_ids.tolist()
        assert batch.row_lengths.tolist() == expected.row_lengths.tolist()
    assert tokenizer.encode_batch([]).row_lengths.tolist() == []
    for wrong in ("a text", [None], [1], pa.array([1]), pa.array(["a", None])):
        with pytest.raises(InputError, match="text"):
            tokenizer.encode_batch(wrong)


def test_a_text_never_has_more_pieces_than_bytes() -> None:
    # The kernel writes without looking whether ids fit.
    for options in ((True, True), (True, False), (False, True)):
        tables = bert_tables(*options, True, True)
        for code_point in tables.expansion.nonzero()[0]:
            length = tables.expanded[tables.expansion[code_point]]
            assert length <= len(chr(code_point).encode())


# Characters that Python's own Unicode version does not know, or knows otherwise than ours, have no reference here.
assigned = st.characters(exclude_categories=["Cs", "Cn", "Co"]).filter(lambda c: unicodedata.category(c) != "Cn")
odd = st.sampled_from("ΣΑς'.\u0301\u0323\u302e\u302f\U0001d165\u034f\u200d\u200b\u00ad\x07\u00a0中\uac01İ½ﬁ[]# ab")


@given(st.text(st.one_of(odd, odd, assigned), max_size=40), st.booleans())
def test_any_text_as_in_the_original(text: str, lowercase: bool) -> None:
    characters = sorted({*text, *unicodedata.normalize("NFD", text.lower() + "σς"), *"ab"})
    vocabulary = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    vocabulary = list(dict.fromkeys(piece for piece in vocabulary if piece.strip("\n\r")))
    ids = {piece: token_id for token_id, piece in enumerate(vocabulary)}
    tokenizer = BertTokenizer(vocabulary, lowercase=lowercase)
    expected = [i for word in references.bert_words(text, lowercase) for i in references.wordpiece(word, ids, "[UNK]")]
    # Twice: the second time from the word cache.
    assert tokenizer.encode_batch([text, text]).token_ids.tolist() == expected * 2


def test_decoding_joins_suffixes() -> None:
    tokenizer = BertTokenizer(PIECES, lowercase=True)
    assert tokenizer.detokenize(tokenizer.tokenize("The  quick.")) == "the quick ."
    assert tokenizer.detokenize([[IDS["the"]], [IDS["[MASK]"], IDS["##a"]]]) == ["the", "[MASK]a"]
    with pytest.raises(InputError, match=r"in \[0, "):
        tokenizer.decode([len(PIECES)])


def test_words_that_are_split_already() -> None:
    pieces = ["[UNK]", "the", "qu", "##ick", "fo x"]
    tokenizer = WordPieceTokenizer(pieces, split=False)
    words = ["the", "quick", "fo x", "y"]
    assert tokenizer(words).tolist() == [1, 2, 3, 4, 0]
    assert tokenizer([words[:2], [], words[2:]]) == [[1, 2, 3], [], [4, 0]]
    assert tokenizer("fo x").tolist() == [4]
    padded = WordPieceTokenizer(pieces, split=False, sequence_length=6)
    assert padded(words).tolist() == [1, 2, 3, 4, 0, 0]
    strings = WordPieceTokenizer(pieces, split=False, dtype="string")
    assert strings([words[:2], ["y"]]) == [["the", "qu", "##ick"], ["[UNK]"]]
    for inputs, expected in (
        (tf.constant(words), [1, 2, 3, 4, 0]),
        (tf.constant([words[:2], words[2:]]), [[1, 2, 3], [4, 0]]),
    ):
        found = tokenizer(inputs)
        assert (found.to_list() if hasattr(found, "to_list") else found.numpy().tolist()) == expected
    assert tokenizer(tf.ragged.constant([words[:2], ["y"]])).to_list() == [[1, 2, 3], [0]]
    assert padded(tf.constant(words)).numpy().tolist() == [1, 2, 3, 4, 0, 0]
    # Batches of texts stay rows inside of preprocessors.
    assert tokenizer.tokenize_in_graph(tf.constant(words)).to_list() == [[1], [2, 3], [4], [0]]
