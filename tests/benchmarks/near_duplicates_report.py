"""Which near-duplicate pairs of a corpus are found, against the exact Jaccard similarity of every pair: by the bands alone,
by the comparison of what the bands find, and in one cluster at last.

    python tests/benchmarks/near_duplicates_report.py CORPUS.jsonl.gz [NUM_DOCUMENTS]

Exact similarities take time and memory with the square of the corpus: a few thousand documents.
"""

import sys
import time
from collections import defaultdict

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import list_column
from clozekit.pipelines.duplicates.components import connected_components
from clozekit.pipelines.duplicates.near_pairs import Pairs, candidate_pairs, make_sets, similarities
from clozekit.pipelines.duplicates.words import fold_texts, hash_ngrams, hash_words, minhash_bands, text_hashes
from clozekit.pipelines.reading.read_documents import find_sources, read_item, split_files
from clozekit.pipelines.running.documents import Document
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings

THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.9)


def exact_similarities(sets: list[np.ndarray]) -> np.ndarray:
    """Jaccard similarity of every pair (num_documents, num_documents), from the documents that hold each shingle."""
    holders: dict[int, list[int]] = defaultdict(list)
    for document, shingles in enumerate(sets):
        for shingle in shingles.tolist():
            holders[shingle].append(document)
    shared = np.zeros((len(sets), len(sets)), np.int32)
    for documents in holders.values():
        if len(documents) > 1:
            shared[np.ix_(documents, documents)] += 1
    sizes = np.array([len(shingles) for shingles in sets])
    return shared / np.maximum(1, sizes[:, None] + sizes[None, :] - shared)


def main(path: str, num_documents: int) -> None:
    options = DeduplicateSettings("near")
    reading = ReadSettings((path,))
    records = [record for item in split_files(find_sources(reading), reading) for _, record in read_item(item, reading)]
    texts = [record.text for record in records if isinstance(record, Document)][:num_documents]
    # Exact duplicates go before, as in a build.
    texts = list(dict.fromkeys(texts))
    folded = fold_texts(pa.array(texts, pa.large_string()))
    shingles = hash_ngrams(hash_words(folded), options.shingle_words, 1)
    started = time.process_time()
    bands = minhash_bands(shingles, options.num_bands, options.rows_per_band)
    band_seconds = time.process_time() - started
    numbers, orders = np.arange(len(texts), dtype=np.uint64), text_hashes(folded)[:, 0]
    repeated = {"number": np.repeat(numbers, options.num_bands), "order": np.repeat(orders, options.num_bands)}
    rows = pa.RecordBatch.from_pydict({"band": bands.reshape(-1), **repeated})
    started = time.process_time()
    candidates, crowded = candidate_pairs(rows)
    column = list_column((shingles.hashes >> np.uint64(32)).astype(np.uint32), shingles.counts)
    documents = pa.RecordBatch.from_pydict({"number": pa.array(numbers), "shingles": column})
    likeness = similarities(candidates, make_sets(documents, np.unique(np.concatenate(candidates))))
    compare_seconds = time.process_time() - started
    near = tuple(side[likeness >= options.min_similarity] for side in candidates)
    sets = [np.unique(part) for part in np.split(shingles.hashes, np.cumsum(shingles.counts)[:-1])]
    exact = exact_similarities(sets)
    pairs = np.triu_indices(len(texts), 1)
    print(f"{len(texts)} documents, {len(shingles.hashes)} shingles, {len(candidates[0])} pairs compared")
    print(f"{len(crowded)} documents in crowded bands; largest band {np.unique(bands, return_counts=True)[1].max()}")
    print(f"CPU-seconds: bands {band_seconds:.2f}, comparison {compare_seconds:.2f}")
    furthest = np.abs(exact[tuple(side.astype(np.int64) for side in candidates)] - likeness).max(initial=0)
    print(f"furthest that a compared similarity is from the exact one: {furthest:.6f}")
    nodes, labels = connected_components(*near)
    ways = {
        "share a band": matrix(len(texts), candidates),
        f"compared, >= {options.min_similarity}": matrix(len(texts), near),
        "in one cluster": same_label(len(texts), nodes, labels),
    }
    for name, found in ways.items():
        print(f"\n{name}: {found[pairs].sum()} pairs")
        print(f"{'similarity at least':>20}{'pairs':>8}{'found':>8}{'recall':>9}{'precision':>11}")
        for threshold in THRESHOLDS:
            close, is_found = exact[pairs] >= threshold, found[pairs]
            both = int((close & is_found).sum())
            recall, precision = both / max(1, close.sum()), both / max(1, is_found.sum())
            print(f"{threshold:>20}{close.sum():>8}{both:>8}{recall:>9.3f}{precision:>11.3f}")


def matrix(size: int, pairs: Pairs) -> np.ndarray:
    found = np.zeros((size, size), bool)
    first, second = (side.astype(np.int64) for side in pairs)
    found[first, second] = found[second, first] = True
    return found


def same_label(size: int, nodes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    label = np.arange(size, dtype=np.uint64)
    label[nodes.astype(np.int64)] = labels
    return label[:, None] == label[None, :]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000)
