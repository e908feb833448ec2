"""Packing: nothing lost, no row too long, the same rows whatever the order, full rows."""

import numpy as np
import pyarrow as pa
import pytest

from clozekit.pipelines.dataset.list_columns import gather_lists, list_column, list_parts
from clozekit.pipelines.rows.exchange_segments import find_partners
from clozekit.pipelines.rows.pack import pack_group, pack_lengths
from clozekit.pipelines.settings.prepare_settings import PrepareSettings

ROWS_OF_32 = PrepareSettings(sequence_length=32)


def best_fit_by_search(lengths: list[int], row_length: int) -> int:
    """Rows that best-fit decreasing needs, by looking at every open row for every piece."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(row_length - length)
    return len(rooms)


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([], []),
        ([8], [0]),
        ([5, 3], [0, 0]),
        ([3, 5], [0, 0]),
        ([5, 5], [0, 1]),
        ([6, 5, 3, 2], [0, 1, 1, 0]),
        ([4, 4, 8], [1, 1, 0]),
    ],
)
def test_known_rows(lengths: list[int], rows: list[int]) -> None:
    assert pack_lengths(np.array(lengths, np.int64), 8).tolist() == rows


@pytest.mark.parametrize("seed", range(5))
def test_as_many_rows_as_the_slow_search(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 65, 400)
    rows = pack_lengths(lengths, 64)
    filled = np.bincount(rows, weights=lengths)
    assert filled.max() <= 64
    assert len(filled) == best_fit_by_search(lengths.tolist(), 64)


def pieces_of(lengths: np.ndarray, keys: np.ndarray) -> pa.RecordBatch:
    """Pieces whose tokens are all the index of the piece."""
    tokens = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    columns = [pa.array(keys), pa.array(keys + np.uint64(1)), list_column(tokens, lengths)]
    return pa.RecordBatch.from_arrays(columns, names=["key", "content", "token_ids"])


def test_rows_hold_every_piece_whole_and_do_not_depend_on_the_order() -> None:
    dice = np.random.default_rng(1)
    lengths = dice.integers(1, 33, 500)
    keys = dice.integers(0, 2**63, 500).astype(np.uint64)
    pieces = pieces_of(lengths, keys)
    rows = pack_group(pieces, ROWS_OF_32)
    assert rows.equals(pack_group(pieces.take(pa.array(dice.permutation(500))), ROWS_OF_32))

    found = []
    for row in rows.to_pylist():
        assert sum(row["document_lengths"]) == len(row["token_ids"]) <= 32
        start = 0
        for length in row["document_lengths"]:
            (piece,) = set(row["token_ids"][start : start + length])
            assert length == lengths[piece]
            found.append(piece)
            start += length
    assert sorted(found) == list(range(500))


def test_paragraphs_fill_the_rows() -> None:
    # Lengths as of short paragraphs, mean about 41 tokens; reference/packing measured 0.999 for 20,000 of them.
    lengths = np.clip(np.random.default_rng(0).geometric(1 / 41, 20_000), 1, 512)
    rows = pack_lengths(lengths, 512)
    assert lengths.sum() / (512 * (rows.max() + 1)) >= 0.995


def test_no_pieces_give_no_rows() -> None:
    assert pack_group(pieces_of(np.zeros(0, np.int64), np.zeros(0, np.uint64)), ROWS_OF_32).num_rows == 0


def test_lists_are_gathered_and_cut_apart_again() -> None:
    values, lengths = np.array([1, 2, 3, 4, 5, 6]), np.array([1, 3, 0, 2])
    assert gather_lists(values, lengths, np.array([3, 2, 0, 1])).tolist() == [5, 6, 1, 2, 3, 4]
    column = list_column(values, lengths)
    assert column.to_pylist() == [[1], [2, 3, 4], [], [5, 6]]
    assert [part.tolist() for part in list_parts(column[1:])] == [[2, 3, 4, 5, 6], [3, 0, 2]]


def test_a_row_holds_no_more_documents_than_it_may() -> None:
    lengths = np.array([3, 3, 2, 2, 2, 2, 1, 1])
    assert np.bincount(pack_lengths(lengths, 8)).tolist() == [3, 5]
    assert np.bincount(pack_lengths(lengths, 8, max_pieces=3)).tolist() == [3, 3, 2]
    assert np.bincount(pack_lengths(lengths, 8, max_pieces=1)).tolist() == [1] * 8


def test_without_packing_a_row_is_a_piece() -> None:
    pieces = pieces_of(np.array([3, 1, 2]), np.array([5, 6, 7], np.uint64))
    rows = pack_group(pieces, PrepareSettings(sequence_length=32, packing="none"))
    assert sorted(rows.column("token_ids").to_pylist()) == [[0, 0, 0], [1], [2, 2]]
    assert rows.column("document_lengths").to_pylist() == [[len(r)] for r in rows.column("token_ids").to_pylist()]


@pytest.mark.parametrize(
    ("documents", "chosen", "partners"),
    [
        ([7, 7, 8, 8], [1, 1, 1, 1], [2, 3, 0, 1]),
        ([7, 8, 9], [1, 0, 1], [2, -1, 0]),
        # One document has most of them: what it has above half is left out.
        ([7, 7, 7, 8], [1, 1, 1, 1], [3, -1, -1, 0]),
        ([7, 7], [1, 1], [-1, -1]),
        ([7], [0], [-1]),
    ],
)
def test_partners_are_of_other_documents(documents: list[int], chosen: list[int], partners: list[int]) -> None:
    assert find_partners(np.array(documents, np.uint64), np.array(chosen, bool)).tolist() == partners


def test_partners_are_a_permutation_of_the_chosen() -> None:
    dice = np.random.default_rng(3)
    documents, chosen = dice.integers(0, 30, 300).astype(np.uint64), dice.random(300) < 0.5
    partner = find_partners(documents, chosen)
    assert sorted(partner[partner >= 0].tolist()) == np.flatnonzero(chosen).tolist()
    assert (documents[chosen] != documents[partner[chosen]]).all()
