"""Tokens added to a vocabulary: found in texts as Hugging Face's library finds them, kept in every layout, in all families.

(`tests/parity/test_foreign_tokenizers_fuzz.py` compares them with transformers itself.)
"""

import pickle
from pathlib import Path
from typing import Any

import pytest
import small_families as small
import tensorflow as tf

from clozekit.deploy.convert import check_keras_hub_tokenizer
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.huggingface_export import write_huggingface_tokenizer
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.tokenizer import Tokenizer


def with_tokens(name: str, *tokens: AddedToken | dict[str, Any]) -> Tokenizer:
    """The small tokenizer of a family with added tokens."""
    own = small.tokenizer(name)
    arguments: dict[str, Any] = {"added_tokens": tokens}
    if name in ("bert", "distil_bert", "electra"):
        return type(own)(own.get_vocabulary(), lowercase=True, **arguments)
    if name in ("roberta", "modern_bert"):
        vocabulary = {piece: number for number, piece in enumerate(own.get_vocabulary())}
        return type(own)(vocabulary, [" ".join(pair) for pair in own._merges], **arguments)
    return type(own)(own.proto, **arguments)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.id_to_token(token_id) for token_id in tokenizer.encode_batch([text]).token_ids.tolist()]


@pytest.mark.parametrize("name", small.NAMES)
@pytest.mark.parametrize(
    ("token", "text", "found"),
    [
        # Anywhere in a word, the leftmost first; what stands between is as if it stood alone.
        (AddedToken("zq"), "azqb", ["zq"]),
        (AddedToken("zq"), "zqzq", ["zq", "zq"]),
        (AddedToken("zq"), "the dog", []),
        (AddedToken("zq", single_word=True), "azqb", []),
        (AddedToken("zq", single_word=True), "a zq. b", ["zq"]),
        (AddedToken("zq", single_word=True), "zq_ zq2 ézq", []),
        (AddedToken("ZQ"), "a zq b", []),
        (AddedToken("<a b>"), "the <a b> dog", ["<a b>"]),
        (AddedToken("[ENT]", special=True), "a[ENT]b", ["[ENT]"]),
        # A piece of the vocabulary that is found before anything else keeps its id.
        (AddedToken("the", single_word=True), "the", ["the"]),
    ],
)
def test_where_a_token_is_found(name: str, token: AddedToken, text: str, found: list[str]) -> None:
    tokenizer = with_tokens(name, token)
    assert [piece for piece in pieces(tokenizer, text) if piece == token.content] == found


@pytest.mark.parametrize("name", small.NAMES)
def test_text_between_added_tokens_is_encoded_alone(name: str) -> None:
    tokenizer, own = with_tokens(name, AddedToken("<new>")), small.tokenizer(name)
    parts = [own.encode_batch([part]).token_ids.tolist() for part in ("the dog", " lazy fox")]
    new = own.vocabulary_size()
    assert tokenizer.encode_batch(["the dog<new> lazy fox"]).token_ids.tolist() == [*parts[0], new, *parts[1]]
    assert tokenizer.vocabulary_size() == new + 1 and tokenizer.id_to_token(new) == "<new>"
    # Texts without it are what they were.
    assert tokenizer.encode_batch(small.TEXTS).token_ids.tolist() == own.encode_batch(small.TEXTS).token_ids.tolist()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, ["a", "Ġ", "zq", "Ġ", "a"]),
        ({"lstrip": True}, ["a", "zq", "Ġ", "a"]),
        ({"rstrip": True}, ["a", "Ġ", "zq", "a"]),
        ({"lstrip": True, "rstrip": True}, ["a", "zq", "a"]),
    ],
)
def test_white_space_that_a_token_takes_along(flags: dict[str, bool], expected: list[str]) -> None:
    assert pieces(with_tokens("roberta", AddedToken("zq", **flags)), "a zq a") == expected


def test_a_normalized_token_is_looked_for_in_normalised_text() -> None:
    """BERT's text is lower-cased first; the token too."""
    assert pieces(with_tokens("bert", AddedToken("ZQ", normalized=True)), "a Zq b") == ["a", "ZQ", "b"]
    assert pieces(with_tokens("bert", AddedToken("ZQ")), "a ZQ b") == ["a", "ZQ", "b"]
    assert "ZQ" not in pieces(with_tokens("bert", AddedToken("ZQ")), "a Zq b")
    with pytest.raises(InputError, match="'ZQ' and 'zq' are after normalisation; leave one out"):
        with_tokens("bert", AddedToken("ZQ", normalized=True), AddedToken("zq", normalized=True))


@pytest.mark.parametrize("name", small.NAMES)
def test_every_layout_and_face_keeps_them(name: str, tmp_path: Path) -> None:
    tokenizer = with_tokens(name, AddedToken("<new>", normalized=True), AddedToken("[ENT]", special=True, rstrip=True))
    texts = ["the <new>dog[ENT] fox", "<new><new>", "", "[ENT]", "the dog"]
    batch = tokenizer.encode_batch(texts)
    ids = batch.token_ids.tolist()
    tokenizer.save(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    write_huggingface_tokenizer(tokenizer, tmp_path / "theirs", 512)
    others = [
        load_tokenizer(tmp_path / "ours"),
        load_tokenizer(tmp_path / "theirs"),
        pickle.loads(pickle.dumps(tokenizer)),
    ]
    for other in others:
        assert other.encode_batch(texts).token_ids.tolist() == ids
        assert other.get_vocabulary() == tokenizer.get_vocabulary()
        assert other.added_tokens == tokenizer.added_tokens
        assert other.word_starts().tolist() == tokenizer.word_starts().tolist()
    assert others[0].sha256() == others[2].sha256() == tokenizer.sha256() != small.tokenizer(name).sha256()
    in_graph = next(iter(tf.data.Dataset.from_tensor_slices(texts).batch(5).map(tokenizer.tokenize)))
    assert in_graph.flat_values.numpy().tolist() == ids
    assert in_graph.row_lengths().numpy().tolist() == batch.row_lengths.tolist()
    starts = tokenizer.word_starts()
    assert starts[tokenizer.token_to_id("<new>")] and not starts[tokenizer.token_to_id("[ENT]")]
    assert "<new>" in tokenizer.detokenize(tokenizer.tokenize("the <new> dog"))


@pytest.mark.parametrize("name", small.NAMES)
def test_keras_hub_has_nothing_for_them(name: str) -> None:
    check_keras_hub_tokenizer(small.tokenizer(name))
    with pytest.raises(InputError, match="has nothing for the added token '<new>'; convert to clozekit or huggingface"):
        check_keras_hub_tokenizer(with_tokens(name, AddedToken("<new>")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("<new>", "must be a list"),
        ({"content": "<new>"}, "must be a list"),
        (5, "must be a list"),
        (["<new>"], "must have its text"),
        ([{}], "must have its text"),
        ([{"content": ""}], "must have its text"),
        ([{"content": 5}], "must have its text"),
        ([{"content": "\ud800"}], "a token that"),
        ([{"content": "a" * 1001}], "at most 1000 characters"),
        ([{"content": "a", "lstrip": 1}], "lstrip of 'a' must be true or false"),
        ([{"content": "a", "since": 1}], "sets 'since' of 'a' too"),
        ([{"content": "a"}, {"content": "a"}], "adds 'a' twice"),
    ],
)
def test_added_tokens_that_are_none_are_refused_in_one_line(rows: Any, message: str) -> None:
    own = small.tokenizer("bert")
    with pytest.raises(InputError, match=message) as caught:
        type(own)(own.get_vocabulary(), lowercase=True, added_tokens=rows)
    assert "\n" not in str(caught.value)
