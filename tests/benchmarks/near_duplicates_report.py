"""How many near-duplicate pairs of a corpus the bands find, against the exact Jaccard similarity of every pair.

    python tests/benchmarks/near_duplicates_report.py CORPUS.jsonl.gz [NUM_DOCUMENTS]

Exact similarities take time and memory with the square of the corpus: a few thousand documents.
"""

import sys
import time
from collections import defaultdict

import numpy as np
import pyarrow as pa

from clozekit.pipelines.corpus_options import DeduplicateOptions
from clozekit.pipelines.documents import Document
from clozekit.pipelines.options import ReadOptions
from clozekit.pipelines.read import find_sources, read_item, split_files
from clozekit.pipelines.words import fold_texts, hash_ngrams, hash_words, minhash_bands

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
    options = DeduplicateOptions("near")
    reading = ReadOptions((path,))
    records = [record for item in split_files(find_sources(reading), reading) for _, record in read_item(item, reading)]
    texts = [record.text for record in records if isinstance(record, Document)][:num_documents]
    shingles = hash_ngrams(hash_words(fold_texts(pa.array(texts, pa.large_string()))), options.shingle_words, 1)
    started = time.process_time()
    bands = minhash_bands(shingles, options.num_bands, options.rows_per_band)
    seconds = time.process_time() - started
    sets = [np.unique(part) for part in np.split(shingles.hashes, np.cumsum(shingles.counts)[:-1])]
    pairs = np.triu_indices(len(texts), 1)
    similarities = exact_similarities(sets)[pairs]
    found = np.zeros((len(texts), len(texts)), bool)
    for band in bands.T:
        found |= band[:, None] == band[None, :]
    is_found = found[pairs]
    print(f"{len(texts)} documents, {len(shingles.hashes)} shingles, bands in {seconds:.2f} CPU-seconds")
    print(f"{'similarity at least':>20}{'pairs':>8}{'found':>8}{'recall':>9}{'precision':>11}")
    for threshold in THRESHOLDS:
        close = similarities >= threshold
        both = int((close & is_found).sum())
        recall, precision = both / max(1, close.sum()), both / max(1, is_found.sum())
        print(f"{threshold:>20}{close.sum():>8}{both:>8}{recall:>9.3f}{precision:>11.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000)
