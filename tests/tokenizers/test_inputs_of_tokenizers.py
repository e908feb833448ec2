"""What `tokenize` and `detokenize` are given: the same answer with special tokens in strings on and off, in a graph too."""

from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

TOKENIZERS = {
    "bert": lambda **options: BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"], **options),
    "roberta": lambda **options: RobertaTokenizer(
        {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "Ġ": 7}, [], **options
    ),
    "roberta with a space": lambda **options: RobertaTokenizer(
        {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "Ġ": 7},
        [],
        add_prefix_space=True,
        **options,
    ),
}


@pytest.fixture(params=TOKENIZERS)
def both(request: pytest.FixtureRequest) -> tuple[Tokenizer, Tokenizer]:
    make = TOKENIZERS[request.param]
    return make(), make(special_tokens_in_strings=True)


@pytest.mark.parametrize(
    "texts",
    [[b"a b"], [b"a\xff b", "\ud800a"], [b"\xf0\x9f", b""], pa.array(["a b", ""]), pa.array([], pa.string()), ["a  b"]],
)
def test_with_and_without_tensorflow_texts_have_the_same_ids(both: tuple[Tokenizer, Tokenizer], texts: Any) -> None:
    off, on = (tokenizer.encode_batch(texts) for tokenizer in both)
    assert (off.token_ids.tolist(), off.row_lengths.tolist()) == (on.token_ids.tolist(), on.row_lengths.tolist())


@pytest.mark.parametrize("texts", [None, 5, [None], [5], ["a", None], pa.array(["a", None]), pa.array([1]), object()])
def test_with_and_without_tensorflow_what_is_no_text_is_refused(both: tuple[Tokenizer, Tokenizer], texts: Any) -> None:
    lines = []
    for tokenizer in both:
        with pytest.raises(InputError, match="text") as caught:
            tokenizer.tokenize(texts)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]


def test_a_mask_takes_every_white_space_before_it(both: tuple[Tokenizer, Tokenizer]) -> None:
    on = both[1]
    mask = on.special_token_names["mask_token"]
    for space in (" ", "\t\n", "\u00a0", "\u2003", "\u3000", "\u2028 "):
        ids = on.tokenize(f"a{space}{mask}").tolist()
        assert ids[-1] == 4
        assert (len(ids) == len(on.tokenize("a")) + 1) or not on.mask_takes_space_before


@pytest.mark.parametrize("ids", [5, None, "ab", b"ab", 2.5])
def test_detokenize_refuses_what_is_no_list_of_ids(both: tuple[Tokenizer, Tokenizer], ids: Any) -> None:
    with pytest.raises(InputError, match="detokenize takes a list of ids"):
        both[0].detokenize(ids)


def test_ragged_strings_and_datasets_there_and_back() -> None:
    tokenizer = TOKENIZERS["bert"]()
    ragged = tokenizer.tokenize(tf.ragged.constant([["a b", "b"], ["a"]]))
    assert ragged.to_list() == [[[5, 6], [6]], [[5]]]
    texts = tf.data.Dataset.from_tensor_slices(["a b", "b", ""])
    assert [text.numpy() for text in texts.map(tokenizer.tokenize).map(tokenizer.detokenize)] == [b"a b", b"b", b""]
    batched = texts.batch(3).map(tokenizer.tokenize).map(tokenizer.detokenize)
    assert next(iter(batched)).numpy().tolist() == [b"a b", b"b", b""]
