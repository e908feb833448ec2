"""Exchanging second segments: pieces labelled 1 get one of another document, as BERT's next-sentence objective needs."""

import numpy as np

from clozekit.pipelines.dataset.list_columns import gather_lists


def exchange_segments(
    values: np.ndarray, lengths: np.ndarray, pairs: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and lengths of the pieces after the exchange; `pair_label` becomes 0 where no other document was to be had.

    values, lengths: pieces one after the other. pairs: segment_length, pair_label and document of each. A segment is only
    moved, so no token is lost or doubled, and a function of the pieces in their order.
    """
    partner = find_partners(pairs["document"], pairs["pair_label"] == 1)
    pairs["pair_label"] = np.where((pairs["pair_label"] == 1) & (partner < 0), 0, pairs["pair_label"])
    segments = (
        np.stack([pairs["segment_length"], lengths - pairs["segment_length"]], axis=1).reshape(-1).astype(np.int64)
    )
    order = np.arange(len(segments)).reshape(-1, 2)
    moved = partner >= 0
    order[moved, 1] = 2 * partner[moved] + 1
    exchanged = segments[order.reshape(-1)]
    return gather_lists(values, segments, order.reshape(-1)), exchanged.reshape(-1, 2).sum(axis=1)


def find_partners(documents: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """For each chosen piece the one whose second segment it gets, of another document; -1 for the others.

    The chosen ones, sorted by document, are turned by the number of pieces of the commonest document: then nobody meets
    its own, as long as that document has at most half of them; what it has above that is left out.
    """
    partner = np.full(len(documents), -1, np.int64)
    places = np.flatnonzero(chosen)
    places = places[np.argsort(documents[places], kind="stable")]
    if not len(places):
        return partner
    _, starts, counts = np.unique(documents[places], return_index=True, return_counts=True)
    largest = int(np.argmax(counts))
    surplus = max(0, 2 * int(counts[largest]) - len(places))
    end = int(starts[largest] + counts[largest])
    places = np.delete(places, np.arange(end - surplus, end))
    partner[places] = np.roll(places, -(int(counts[largest]) - surplus))
    return partner
