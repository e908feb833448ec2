"""Choosing: which documents of a pane a stream takes, now that it is known what came before. Plain functions of a table."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clozekit.pipelines.streaming.known_hashes import KnownHashes, column_values
from clozekit.pipelines.streaming.pane import KEPT

REDELIVERED, LATE, DUPLICATE = "redelivered", "documents_late", "duplicates_exact"


class Choice(NamedTuple):
    """What becomes of each row of a pane.

    outcomes: the name under which each is counted; "kept" for those that become rows. validation: whether a kept one is
    validation, after it was lowered over its duplicates. kept_ids: of a duplicate the id of the document kept for it. is_new:
    whose delivery is to be known; is_text: whose text is.
    """

    outcomes: np.ndarray
    validation: np.ndarray
    kept_ids: dict[int, str | None]
    is_new: np.ndarray
    is_text: np.ndarray


def choose_documents(
    documents: pa.Table, known: Mapping[str, KnownHashes], oldest: int, is_late: bool, drops_duplicates: bool
) -> Choice:
    """documents: of DELIVERIES, in the order of a frozen pane; oldest: what was known at an earlier time is forgotten.

    A delivery that is known is one more time the same. Of the others, those with a known text are duplicates of the document
    that had it; of those with one text the one with the smallest (id, content) is kept, as `prepare` does it, and it is
    validation only when all are.
    """
    num_rows = documents.num_rows
    deliveries = hashes_of(documents, "delivery")
    is_new = ~known["deliveries"].look_up(deliveries, oldest).is_known
    # The same twice in one pane stands side by side.
    is_new[1:] &= (deliveries[1:] != deliveries[:-1]).any(axis=1)
    outcomes = np.array(documents.column("outcome").to_pylist(), object)
    outcomes[~is_new] = REDELIVERED
    validation = documents.column("validation").combine_chunks().fill_null(False).to_numpy(zero_copy_only=False).copy()
    kept_ids: dict[int, str | None] = {}
    is_text = np.zeros(num_rows, bool)
    if is_late:
        outcomes[is_new] = LATE
        return Choice(outcomes, validation, kept_ids, is_new, is_text)
    candidates = np.flatnonzero(is_new & documents.column("text").combine_chunks().is_valid().to_numpy(False))
    if drops_duplicates and len(candidates):
        chosen = documents.take(pa.array(candidates))
        exact = hashes_of(chosen, "exact")
        found = known["texts"].look_up(exact, oldest)
        for at in np.flatnonzero(found.is_known).tolist():
            outcomes[candidates[at]] = DUPLICATE
            kept_ids[int(candidates[at])] = found.ids[at]
        rest = np.flatnonzero(~found.is_known)
        ids = chosen.column("id").to_pylist()
        for group in _groups(chosen, exact, rest):
            first = group[0]
            validation[candidates[first]] = all(validation[candidates[at]] for at in group)
            for at in group[1:]:
                outcomes[candidates[at]] = DUPLICATE
                kept_ids[int(candidates[at])] = ids[first]
        is_text[candidates] = outcomes[candidates] != DUPLICATE
    return Choice(outcomes, validation, kept_ids, is_new, is_text)


def hashes_of(table: pa.Table, kind: str) -> np.ndarray:
    """The columns <kind>_0 and <kind>_1 as uint64 (num_rows, 2)."""
    return np.stack([column_values(table, f"{kind}_{half}") for half in (0, 1)], axis=1)


def _groups(chosen: pa.Table, exact: np.ndarray, rest: np.ndarray) -> list[list[int]]:
    """Those of the rows `rest` that share a hash, several each, the one to keep first."""
    ids, contents = chosen.column("id").to_pylist(), column_values(chosen, "content").tolist()
    together: dict[tuple[int, int], list[int]] = {}
    for at in rest.tolist():
        together.setdefault((int(exact[at, 0]), int(exact[at, 1])), []).append(at)
    groups = [group for group in together.values() if len(group) > 1]
    # Ids are compared as Arrow does, by their bytes.
    return [sorted(group, key=lambda at: (ids[at].encode(), contents[at])) for group in groups]


def is_kept(choice: Choice) -> np.ndarray:
    return choice.outcomes == KEPT
