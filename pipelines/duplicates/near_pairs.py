"""Which documents of equal bands are as similar as they must be: candidate pairs, their shingles, their likeness. No Beam."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import gather_lists, list_column, list_parts
from clozekit.pipelines.duplicates import word_kernels

Pairs = tuple[np.ndarray, np.ndarray]

# In a band of at most so many documents each is compared with each, in one of more each with the first alone, or pairs
# would explode: so at most 31.5 comparisons a document and band. Of 132,600 bands of the C++ reference the largest has 21.
MAX_COMPARED = 64


class Candidates(NamedTuple):
    """Pairs to compare (numbers, none twice), and the documents of bands with more than MAX_COMPARED."""

    pairs: Pairs
    crowded: np.ndarray


def star_edges(rows: pa.RecordBatch) -> Pairs:
    """Edges from each document to the first one with the same band."""
    numbers, begins, _ = _sort_bands(rows)
    centres = numbers[begins]
    apart = numbers != centres
    return numbers[apart], centres[apart]


def candidate_pairs(rows: pa.RecordBatch) -> Candidates:
    """From all rows (band, number, order) of some bands: a function of the documents, not of how they are numbered,
    because those of a band are ordered by `order`, a hash of their text."""
    numbers, begins, sizes = _sort_bands(rows)
    places = np.arange(len(numbers))
    is_crowded = sizes > MAX_COMPARED
    later = np.flatnonzero(is_crowded & (places > begins))
    first, second = [numbers[later]], [numbers[begins[later]]]
    for distance in range(1, MAX_COMPARED):
        later = np.flatnonzero(~is_crowded & (places - begins >= distance))
        if not len(later):
            break
        first.append(numbers[later])
        second.append(numbers[later - distance])
    return Candidates(unique_pairs(np.concatenate(first), np.concatenate(second)), np.unique(numbers[is_crowded]))


def _sort_bands(rows: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers by band and order; place -> the first place of its band; place -> documents of its band."""
    bands, numbers, orders = (rows.column(name).to_numpy() for name in ("band", "number", "order"))
    by_band = np.lexsort((numbers, orders, bands))
    bands, numbers = bands[by_band], numbers[by_band]
    starts = np.flatnonzero(np.concatenate([[True], bands[1:] != bands[:-1]])) if len(bands) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(bands)))
    return numbers, np.repeat(starts, sizes), np.repeat(sizes, sizes)


def unique_pairs(first: np.ndarray, second: np.ndarray) -> Pairs:
    """The pairs sorted, each once."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[is_new], second[is_new]


def make_sets(shingles: pa.RecordBatch, numbers: np.ndarray) -> pa.RecordBatch:
    """The different shingles, sorted, of those documents whose numbers are among `numbers` (sorted)."""
    own = shingles.column("number").to_numpy()
    places = np.minimum(np.searchsorted(numbers, own), max(0, len(numbers) - 1))
    rows = np.flatnonzero(numbers[places] == own) if len(numbers) else np.zeros(0, np.int64)
    values, lengths = list_parts(shingles.column("shingles"))
    chosen = gather_lists(values, lengths, rows)
    sizes = np.empty(len(rows), np.int64)
    used = word_kernels.make_sets(chosen, lengths[rows], sizes)
    return pa.RecordBatch.from_pydict(
        {"number": pa.array(own[rows]), "shingles": list_column(chosen[:used], sizes)},
    )


def similarities(pairs: Pairs, sets: pa.RecordBatch) -> np.ndarray:
    """The Jaccard similarity of each pair, float64, from the sets of all their documents."""
    values, lengths = list_parts(sets.column("shingles"))
    numbers = sets.column("number").to_numpy()
    by_number = np.argsort(numbers, kind="stable")
    sides = [by_number[np.searchsorted(numbers, side, sorter=by_number)] for side in pairs]
    result = np.empty(len(pairs[0]))
    word_kernels.jaccard_similarities(values, np.cumsum(lengths) - lengths, lengths, *sides, result)
    return result


def highest(numbers: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each number once, sorted, with the highest of its values."""
    found, places = np.unique(numbers, return_inverse=True)
    result = np.zeros(len(found))
    np.maximum.at(result, places, values)
    return found, result
