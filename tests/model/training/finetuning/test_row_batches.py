"""Encoded rows: the batches are what the preprocessor gives, and every epoch holds every row once."""

import numpy as np
import pytest

from clozekit.model import BertTextClassifierPreprocessor
from clozekit.model.preprocessing.encoded_rows import EncodedRows, batch_lengths, encode_rows
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.finetuning.row_batches import lengths_of_run, training_batches, training_rows
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer


@pytest.mark.parametrize("has_pairs", [False, True])
def test_a_batch_is_what_the_preprocessor_gives(has_pairs: bool, tokenizer: BertTokenizer) -> None:
    texts = ["the cat", "", "the dog ran under the tree " * 9, "a bird"]
    pairs = ["on the mat", "the red house", "the old cat " * 12, ""] if has_pairs else []
    preprocessor = BertTextClassifierPreprocessor(tokenizer, sequence_length=48)
    rows = encode_rows(texts, pairs, preprocessor)
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


def rows_of(lengths: list[int], sequence_length: int) -> EncodedRows:
    ids = np.concatenate([np.full(length, number + 1) for number, length in enumerate(lengths)])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedRows(ids, np.zeros_like(ids), starts, 0, sequence_length, ("token_ids", "padding_mask"))


def test_a_run_computes_only_in_lengths_that_its_batches_need() -> None:
    # Four long rows and many short ones: by seed 0 the batches of 4 need these lengths.
    rows = rows_of([5] * 36 + [40, 70, 200, 250], 300)
    needed = {int(rows.lengths[training_rows(40, 0, first, 4)].max()) for first in range(0, 40, 4)}
    assert needed == {5, 40, 200, 250}
    assert lengths_of_run(RowSet(rows), 0, 4, 10) == (32, 64, 256)
    # Of a run that sees none of the long rows, the one that would hold them is there all the same.
    assert lengths_of_run(RowSet(rows), 0, 1, 1) == (32, 256)
    assert lengths_of_run(RowSet(rows_of([5] * 9, 300)), 0, 4, 10) == (32,)


def test_workers_share_batches_whose_length_the_whole_batch_decides() -> None:
    rows = rows_of([5] * 36 + [40, 70, 200, 250], 300)
    labels = np.arange(40, dtype=np.int32)
    lengths = lengths_of_run(RowSet(rows), 0, 4, 10)

    def batches(worker: int, num_workers: int) -> list[dict[str, np.ndarray]]:
        read = training_batches(RowSet(rows, labels), lengths, 0, 8, 4, worker, num_workers)
        return list(read.take(8).as_numpy_iterator())

    whole, shares = batches(0, 1), [batches(worker, 2) for worker in range(2)]
    for number, batch in enumerate(whole):
        chosen = training_rows(40, 0, 8 + 4 * number, 4)
        assert batch["labels"].tolist() == chosen.tolist()
        assert batch["padding_mask"].sum(axis=1).tolist() == rows.lengths[chosen].tolist()
        assert batch["token_ids"].max(axis=1).tolist() == (chosen + 1).tolist()
        assert batch["token_ids"].shape == (4, 256)
        needed = rows.lengths[chosen].max()
        place = batch["length_bin"][0]
        assert lengths[place] >= needed and (place == 0 or lengths[place - 1] < needed)
        for name, values in batch.items():
            halves = [share[number][name] for share in shares]
            assert np.concatenate(halves).tolist() == values.tolist(), name
