"""The in-graph face gives the ids of the batch face, eagerly and inside a dataset."""

import numpy as np
import pytest
import slow_references as references
import tensorflow as tf

from clozekit.tokenizers.byte_pair import byte_characters
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer
from clozekit.tokenizers.families.roberta_tokenizer import RobertaTokenizer
from clozekit.tokenizers.families.xlm_roberta_tokenizer import XLMRobertaTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

TEXTS = ["The quick  fox", "", "é中\u200b<mask> [MASK]", "\x00\x07 ½", "a" * 300]
SPM = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -2.0, 1), *((c, -3.0, 1) for c in "abcefhikoqtux")]


def families(**options: object) -> list[Tokenizer]:
    characters = sorted({*"".join(TEXTS).lower()} - {" "})
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{character}" for character in characters)]
    roberta = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *byte_characters()]
    return [
        BertTokenizer(bert, lowercase=True, **options),
        RobertaTokenizer(roberta, [], **options),
        XLMRobertaTokenizer(references.spm_proto(SPM), **options),
    ]


@pytest.mark.parametrize("tokenizer", families(), ids=lambda tokenizer: type(tokenizer).__name__)
def test_same_ids_as_the_batch_face(tokenizer: Tokenizer) -> None:
    expected = tokenizer.tokenize(TEXTS)
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == expected
    dataset = tf.data.Dataset.from_tensor_slices(TEXTS)
    assert [row for rows in dataset.batch(2).map(tokenizer.tokenize) for row in rows.to_list()] == expected
    assert [row.numpy().tolist() for row in dataset.map(tokenizer.tokenize)] == expected
    assert tokenizer.detokenize(tokenizer.tokenize(tf.constant(TEXTS[:1]))) == [tokenizer.decode(expected[0])]


@pytest.mark.parametrize("tokenizer", families(sequence_length=4, special_tokens_in_strings=True))
def test_options_hold_in_a_graph(tokenizer: Tokenizer) -> None:
    expected = tokenizer.tokenize(TEXTS)
    for rows in (
        tf.data.Dataset.from_tensor_slices(TEXTS).batch(len(TEXTS), drop_remainder=True).map(tokenizer.tokenize)
    ):
        assert rows.shape == (len(TEXTS), 4) and np.array_equal(rows, expected)
    assert tokenizer.tokenize(tf.constant(TEXTS[2])).numpy().tolist() == expected[2].tolist()


def test_pieces_in_a_graph() -> None:
    tokenizer = families(dtype="string")[1]
    assert tokenizer.tokenize(tf.constant(["a b"])).to_list() == [[b"a", "Ġ".encode(), b"b"]]


def test_tensors_of_numbers_or_of_rank_2_are_refused() -> None:
    for wrong in (tf.constant([1]), tf.constant([["a"]])):
        with pytest.raises(InputError, match="rank 0 or 1"):
            families()[0].tokenize(wrong)
