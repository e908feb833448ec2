"""Byte-level BPE: GPT-2's words, merges by rank, every text given back."""

import pytest
import slow_references as references
from hypothesis import given
from hypothesis import strategies as st

from clozekit.tokenizers.byte_pair import BytePairTokenizer, byte_characters
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MERGES = ["Ġ a", "a b", "ab ab", "Ġa b", "l l", "' s", "c a", "ca b", "a a", "aa aa", "Ġ Ġ", "abab aa"]
VOCABULARY = [*SPECIAL, *byte_characters(), *(merge.replace(" ", "") for merge in MERGES)]


def roberta(**options: object) -> RobertaTokenizer:
    return RobertaTokenizer({piece: i for i, piece in enumerate(VOCABULARY)}, MERGES, **options)


def slow_ids(text: str, merges: list[str]) -> list[int]:
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    ids = {piece: token_id for token_id, piece in enumerate(VOCABULARY)}
    found = []
    for word in references.GPT2_PATTERN.findall(text):
        characters = "".join(byte_characters()[byte] for byte in word.encode())
        found += [ids[piece] for piece in references.byte_pairs(characters, ranks)]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab ab", ["ab", "Ġab"]),
        ("it's", ["i", "t", "'s"]),
        ("it'S", ["i", "t", "'", "S"]),
        ("a  b", ["a", "Ġ", "Ġ", "b"]),
        ("a   b", ["a", "ĠĠ", "Ġ", "b"]),
        ("a  ", ["a", "ĠĠ"]),
        ("a\n\nb", ["a", "Ċ", "Ċ", "b"]),
        ("1½a!", ["1", "Â", "½", "a", "!"]),
        ("<mask>", ["<", "m", "a", "s", "k", ">"]),
        ("", []),
        ("\0", ["Ā"]),
    ],
)
def test_pieces(text: str, expected: list[str]) -> None:
    tokenizer = roberta()
    assert [tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize(text)] == expected


def test_the_example_of_the_seeds_has_merges_outside_its_vocabulary() -> None:
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 3, "a": 4, "Ġquick": 5, "Ġfox": 6}
    merges = ["Ġ q", "u i", "c k", "ui ck", "Ġq uick", "Ġ f", "o x", "Ġf ox"]
    tokenizer = RobertaTokenizer(vocabulary=vocabulary, merges=merges)
    assert tokenizer.tokenize(["a quick fox", "a fox quick"]) == [[4, 5, 6], [4, 6, 5]]
    # Without "<unk>", what is no piece is left out; with it, it is that.
    assert tokenizer.tokenize("a bug").tolist() == [4]
    assert RobertaTokenizer({**vocabulary, "<unk>": 7}, merges).tokenize("a b").tolist() == [4, 7, 7]


def test_the_mask_takes_the_space_before_it() -> None:
    tokenizer = roberta(special_tokens_in_strings=True)
    pieces = [tokenizer.id_to_token(token_id) for token_id in tokenizer.tokenize("ab  <mask> a</s>b")]
    assert pieces == ["ab", "<mask>", "Ġa", "</s>", "b"]


def test_unsplittable_tokens_are_always_found() -> None:
    tokenizer = BytePairTokenizer(VOCABULARY, MERGES, unsplittable_tokens=["<mask>"])
    assert tokenizer.tokenize("a <mask>").tolist() == [VOCABULARY.index(piece) for piece in ("a", "Ġ", "<mask>")]


def test_add_prefix_space() -> None:
    tokenizer = roberta(add_prefix_space=True)
    assert tokenizer.tokenize(["a", " a"]) == [[VOCABULARY.index("Ġa")]] * 2


def test_word_starts_begin_with_white_space() -> None:
    starts = roberta().word_starts()
    assert [starts[VOCABULARY.index(piece)] for piece in ("Ġa", "Ċ", "ab", "<mask>")] == [True, True, False, False]


odd = st.sampled_from([*"'aabb  \n\t1½!é日\u0301\u00a0\u3000\u200d", "'s", "'ll", "'ve", "🙂", "\x85", "\0"])
any_text = st.lists(st.one_of(odd, odd, st.text(max_size=3)), max_size=30).map("".join)


@given(st.lists(st.one_of(odd, odd, st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"]))).map("".join))
def test_any_text_as_in_gpt2(text: str) -> None:
    assert roberta().encode_batch([text, text]).token_ids.tolist() == slow_ids(text, MERGES) * 2


@given(st.text(st.sampled_from("abc"), min_size=120, max_size=300))
def test_long_words_merge_like_short_ones(text: str) -> None:
    assert roberta().tokenize(text).tolist() == slow_ids(text, MERGES)


@given(st.text(st.sampled_from("abc"), min_size=1, max_size=200), st.permutations(MERGES))
def test_merges_in_any_order_work_as_in_gpt2(text: str, merges: list[str]) -> None:
    tokenizer = BytePairTokenizer(VOCABULARY, merges)
    assert tokenizer.tokenize(text).tolist() == slow_ids(text, merges)


@given(st.one_of(any_text, st.text(), st.text(st.characters(), max_size=10)))
def test_every_text_is_given_back(text: str) -> None:
    tokenizer = roberta()
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == text


def test_lone_surrogates_and_long_words_are_given_back() -> None:
    tokenizer = roberta()
    for text in ("\ud800", "a\udfff \ud83d\ude42 b", "x" * 10_000, "ab" * 5_000):
        assert tokenizer.detokenize(tokenizer.tokenize(text)) == text


def test_bytes_that_are_no_utf8_have_their_own_ids() -> None:
    tokenizer = roberta()
    # As they come from a `tf.string` tensor.
    assert tokenizer.encode_batch([b"a\xff\xc3", b"ab"]).row_lengths.tolist() == [3, 1]
    assert tokenizer.decode(tokenizer.encode_batch([b"a\xff"]).token_ids) == "a\ufffd"
