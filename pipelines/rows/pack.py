"""Packing: pieces of one group into rows by best-fit decreasing, in an order that only the pieces decide."""

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import gather_lists, list_column, list_parts
from clozekit.pipelines.dataset.records import DOCUMENT_LENGTHS, PAIR_LABELS, SEGMENT_LENGTHS, TOKEN_IDS
from clozekit.pipelines.rows.exchange_segments import exchange_segments
from clozekit.pipelines.settings.prepare_settings import PrepareSettings


def pack_lengths(lengths: np.ndarray, row_length: int, max_pieces: int | None = None) -> np.ndarray:
    """The row each piece goes to: the fullest one that still has room, the longest piece first.

    A row is full when it holds `max_pieces`, if that is given.

    lengths: integers (num_pieces,), each 1 to `row_length`. Returns int64 (num_pieces,), rows numbered from 0 in the
    order they were opened. Pieces of equal length are taken in their order, so the result is a function of the input.
    Best-fit decreasing by a histogram of free room: O(num_pieces) look-ups, each on one integer of `row_length` bits
    (Krell et al. 2021, arXiv 2107.02027, section 3, with the histogram over rows in place of the one over lengths).
    """
    row_of_piece = np.empty(len(lengths), np.int64)
    rows_with_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    # Bit r is set when some open row has exactly r positions left; the lowest set bit >= length is the best fit.
    rooms = 0
    num_rows = 0
    pieces_of_row: list[int] = []
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row = row_length, num_rows
            num_rows += 1
            pieces_of_row.append(0)
        row_of_piece[piece] = row
        pieces_of_row[row] += 1
        left = room - length
        if left and pieces_of_row[row] != max_pieces:
            rows_with_room[left].append(row)
            rooms |= 1 << left
    return row_of_piece


def mix64(values: np.ndarray) -> np.ndarray:
    """A second, unrelated order of keys: the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = values.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def pack_group(pieces: pa.RecordBatch, options: PrepareSettings) -> pa.RecordBatch:
    """Rows of the pieces of one group: columns token_ids and document_lengths, an entry a row, in shuffled order.

    pieces: columns key, content (uint64) and token_ids (list<int32>), in any order; pairs have more columns, and their
    rows segment_lengths and pair_labels. The result depends on the set of pieces alone: they are sorted by (key, content)
    first.
    """
    keys = pieces.column("key").to_numpy()
    order = np.lexsort((pieces.column("content").to_numpy(), keys))
    values, lengths = list_parts(pieces.column("token_ids"))
    pairs: dict[str, np.ndarray] = {}
    if options.pairs != "none":
        pairs = {name: pieces.column(name).to_numpy()[order] for name in ("segment_length", "pair_label", "document")}
        if options.pairs == "next":
            values = gather_lists(values, lengths, order)
            values, lengths = exchange_segments(values, lengths[order], pairs)
            keys, order = keys[order], np.arange(len(order))
    if options.packing == "none":
        row_of_piece = np.arange(len(order))
    else:
        row_of_piece = pack_lengths(lengths[order], options.sequence_length, options.max_documents_per_row)
    # Rows take the shuffled order of their first piece; within a row pieces keep the order of their keys.
    num_rows = int(row_of_piece.max()) + 1 if len(order) else 0
    first_piece = np.full(num_rows, len(order), np.int64)
    np.minimum.at(first_piece, row_of_piece, np.arange(len(order)))
    rank = np.empty(num_rows, np.int64)
    rank[np.lexsort((first_piece, mix64(keys[order][first_piece])))] = np.arange(num_rows)
    by_row = np.argsort(rank[row_of_piece], kind="stable")
    flat = gather_lists(values, lengths, order[by_row])
    documents_per_row = np.bincount(rank[row_of_piece], minlength=num_rows)
    tokens_per_row = np.bincount(rank[row_of_piece], weights=lengths[order], minlength=num_rows).astype(np.int64)
    columns = {
        TOKEN_IDS: list_column(flat, tokens_per_row),
        DOCUMENT_LENGTHS: list_column(lengths[order][by_row].astype(np.int32), documents_per_row),
    }
    if pairs:
        columns[SEGMENT_LENGTHS] = list_column(pairs["segment_length"][by_row].astype(np.int32), documents_per_row)
        columns[PAIR_LABELS] = list_column(pairs["pair_label"][by_row].astype(np.int32), documents_per_row)
    return pa.RecordBatch.from_pydict(columns)
