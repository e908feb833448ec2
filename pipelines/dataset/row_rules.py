"""What a row of a dataset must be: whoever reads rows that somebody else may have written looks at this first."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import list_parts
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.dataset.records import (
    DOCUMENT_LENGTHS,
    PAIR_LABELS,
    ROW_ID,
    SEGMENT_LENGTHS,
    TOKEN_IDS,
    records_to_rows,
)
from clozekit.pipelines.dataset.row_limits import NO_PAIR
from clozekit.tokenizers.common.errors import InputError

_RULES_SHOWN = 5
# Rows that are parsed and checked together: their arrays (4 MB of ids at length 512) stay in the processor's cache, and their
# memory is taken again for the next ones. A whole shard of 64 MB took three times the CPU time (measured).
BLOCK_ROWS = 1024


def checked_blocks(
    records: Iterator[bytes], first_row: int, manifest: Manifest, source: str
) -> Iterator[pa.RecordBatch]:
    """`checked_rows` of all records of a shard, BLOCK_ROWS at a time."""
    num_read = 0
    while some := list(islice(records, BLOCK_ROWS)):
        yield checked_rows(some, first_row + num_read, manifest, source, num_read)
        num_read += len(some)


def checked_rows(
    records: Sequence[bytes], first_row: int, manifest: Manifest, source: str, first_record: int = 0
) -> pa.RecordBatch:
    """The rows of consecutive records of a split, from row `first_row` on. Raises InputError for one that breaks a rule."""
    try:
        rows = parse_records(list(records), first_record)
    except InputError as error:
        raise InputError(f"{source}: {error}; prepare the dataset again") from error
    for problem in row_problems(rows, first_row, manifest):
        raise InputError(f"{source}: {problem}; prepare the dataset again (`clozekit verify` finds all that is wrong)")
    return rows


def parse_records(records: list[bytes], first: int) -> pa.RecordBatch:
    """Rows of the records; raises InputError naming the one that is no Example of a row."""
    try:
        return records_to_rows(records)
    except (RuntimeError, ValueError, KeyError) as error:
        if len(records) == 1:
            raise InputError(
                f"record {first} must be a tf.train.Example with the features of a row ({error})"
            ) from error
    # One by one, to name the first that fails.
    for number, record in enumerate(records):
        parse_records([record], first + number)
    raise InputError(f"records {first} to {first + len(records) - 1} must have the same features, they do not")


def row_problems(rows: pa.RecordBatch, first_row: int, manifest: Manifest) -> list[str]:
    """What breaks a rule in consecutive rows of a split, at most one line a rule with its first row."""
    has_pairs = rows.num_columns > 3
    if has_pairs != manifest.has_pairs:
        return [
            f"rows must {'' if manifest.has_pairs else 'not '}have segments of sentence pairs, as the manifest's settings say"
        ]
    nulls = [name for name in rows.schema.names if rows.column(name).null_count]
    if nulls:
        return [f"every row must have the features {', '.join(rows.schema.names)}, some have no {', '.join(nulls)}"]
    ids, num_tokens = list_parts(rows.column(TOKEN_IDS))
    lengths, num_documents = list_parts(rows.column(DOCUMENT_LENGTHS))
    row_ids, num_ids = list_parts(rows.column(ROW_ID))
    if (num_ids != 1).any():
        return ["every row must have one row_id, some have none or several"]
    special = manifest.tokenizer.special_token_ids
    token_rows = np.repeat(np.arange(rows.num_rows), num_tokens)
    document_rows = np.repeat(np.arange(rows.num_rows), num_documents)
    sums = np.bincount(document_rows, weights=lengths, minlength=rows.num_rows).astype(np.int64)
    size = manifest.tokenizer.vocabulary_size
    rules = [
        ("its row_id is not its number in the split", row_ids != first_row + np.arange(rows.num_rows)),
        ("it holds no token", num_tokens == 0),
        (f"it holds more than {manifest.sequence_length} tokens", num_tokens > manifest.sequence_length),
        (f"an id is not in the vocabulary of {size:,} pieces", _any_in(token_rows, (ids < 0) | (ids >= size), rows)),
        ("the length of a document is below 1", _any_in(document_rows, lengths < 1, rows)),
        ("the lengths of its documents do not add up to its tokens", sums != num_tokens),
    ]
    if has_pairs:
        pair_lengths, num_pair_lengths = list_parts(rows.column(SEGMENT_LENGTHS))
        labels, num_labels = list_parts(rows.column(PAIR_LABELS))
        if (num_pair_lengths != num_documents).any() or (num_labels != num_documents).any():
            return ["every document must have one segment length and one pair label, some have none or several"]
        wrong = (pair_lengths < 2) | (pair_lengths > lengths) | (labels < -1) | (labels > 1)
        wrong |= (labels == NO_PAIR) != (pair_lengths == lengths)
        rules.append(("the second segment of a document begins outside of it", _any_in(document_rows, wrong, rows)))
    broken = [(rule, np.flatnonzero(which)) for rule, which in rules]
    if not any(len(which) for _, which in broken):
        # The lengths fit, so they say where documents begin and end.
        ends = np.cumsum(lengths)
        wrong = (ids[ends - lengths] != special["start_token"]) | (ids[ends - 1] != special["end_token"])
        if has_pairs:
            wrong |= ids[ends - lengths + pair_lengths - 1] != special["end_token"]
        rule = "a document (or its first segment) does not begin with the start token and end with the end token"
        broken.append((rule, np.flatnonzero(_any_in(document_rows, wrong, rows))))
    return [
        f"row {first_row + which[0]}: {rule}" + (f" (and {len(which) - 1:,} more rows)" if len(which) > 1 else "")
        for rule, which in broken
        if len(which)
    ][:_RULES_SHOWN]


def _any_in(rows_of: np.ndarray, wrong: np.ndarray, rows: pa.RecordBatch) -> np.ndarray:
    """Whether any entry of each row is wrong."""
    return np.bincount(rows_of[wrong], minlength=rows.num_rows) > 0
