"""Encoded rows: the batches are what the preprocessor gives, and every epoch holds every row once."""

import numpy as np
import pytest

from clozekit.model import BertTextClassifierPreprocessor
from clozekit.model.training.finetuning.encoded_rows import batch_lengths, encode_rows, training_rows
from clozekit.model.training.finetuning.labelled_texts import LabelledTexts
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


def examples(texts: list[str], pairs: list[str]) -> LabelledTexts:
    return LabelledTexts("x", tuple(texts), tuple(pairs), (), tuple(range(len(texts))), 0, "")


@pytest.mark.parametrize("has_pairs", [False, True])
def test_a_batch_is_what_the_preprocessor_gives(has_pairs: bool, tokenizer: BertTokenizer) -> None:
    texts = ["the cat", "", "the dog ran under the tree " * 9, "a bird"]
    pairs = ["on the mat", "the red house", "the old cat " * 12, ""] if has_pairs else []
    preprocessor = BertTextClassifierPreprocessor(tokenizer, sequence_length=48)
    rows = encode_rows(examples(texts, pairs), preprocessor)
    expected = {name: value.numpy() for name, value in preprocessor((texts, pairs) if has_pairs else texts).items()}
    assert rows.num_full() == 1
    # A long row needs all places, short ones the least.
    for order, length in (([2, 0, 0], 48), ([3, 1], 32)):
        batch = rows.batch(np.array(order))
        assert list(batch) == ["token_ids", "segment_ids", "padding_mask"]
        for name, value in batch.items():
            assert (value.dtype, value.shape) == (np.int32, (len(order), length))
            assert (value == expected[name][order][:, :length]).all()
            assert not np.any(expected["padding_mask"][order][:, length:])


def test_batches_have_few_lengths() -> None:
    assert batch_lengths(128) == [32, 64, 128]
    assert batch_lengths(100) == [32, 64, 100]
    assert batch_lengths(20) == [20]


def test_every_epoch_holds_every_row_once_in_its_own_order() -> None:
    stream = np.concatenate([training_rows(10, 7, first, 4) for first in range(0, 20, 4)])
    first, second = stream[:10], stream[10:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert training_rows(10, 8, 0, 4).tolist() != first[:4].tolist()
    # A batch of several epochs, for a file smaller than a batch.
    assert np.bincount(training_rows(3, 0, 7, 7)).sum() == 7
    # numpy.random.default_rng([7, 0]).permutation(10): a change of it changes every run.
    assert first.tolist() == [8, 0, 7, 1, 3, 6, 2, 4, 5, 9]
