"""Which documents are duplicates: signatures of a batch, groups of equal ones, the survivor of each. No Beam."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import list_column
from clozekit.pipelines.duplicates.words import fold_texts, hash_ngrams, hash_words, minhash_bands, text_hashes
from clozekit.pipelines.running.documents import hash64
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings

# Who survives: the smallest of these. Two documents equal in the first three are the same in every byte of the dataset.
_RANK = ("source", "id", "content", "number")
_MEMBER_COLUMNS = ("number", "batch", "source", "id", "content", "validation", "first")
EXACT, NEAR = "exact", "near"


class Verdict(NamedTuple):
    """What became of a document: the id of the one kept for it (None: it is kept itself), how they are alike, whether
    its cluster may be validation, and of a near one the similarity to the likest that it was compared with."""

    number: int
    kept: str | None
    kind: str
    validation: bool
    similarity: float | None = None


def sign_documents(documents: pa.RecordBatch, options: DeduplicateSettings) -> pa.RecordBatch:
    """What is compared of each document, a row each: hashes of its folded text, and with "near" its MinHash bands and
    its shingles.

    batch: the number of the batch's first document, which finds the batch again.
    """
    folded = fold_texts(documents.column("text"))
    exact = text_hashes(folded)
    contents = [hash64(text.encode()) for text in documents.column("text").to_pylist()]
    first = documents.column("number")[0].as_py() if documents.num_rows else 0
    columns = {
        "number": documents.column("number"),
        "batch": pa.array(np.full(documents.num_rows, first, np.uint64)),
        "source": documents.column("source"),
        "id": documents.column("id"),
        "content": pa.array(contents, pa.uint64()),
        "validation": documents.column("validation"),
        "exact_0": pa.array(exact[:, 0]),
        "exact_1": pa.array(exact[:, 1]),
    }
    if options.is_near:
        # Shorter than a shingle: all words together are one. Without a word there is nothing to compare.
        shingles = hash_ngrams(hash_words(folded), options.shingle_words, 1)
        bands = minhash_bands(shingles, options.num_bands, options.rows_per_band)
        columns["bands"] = pa.FixedSizeListArray.from_arrays(pa.array(bands.reshape(-1)), options.num_bands)
        columns["has_words"] = pa.array(shingles.counts > 0)
        if options.min_similarity:
            # Half of the hash is enough to compare two documents: of 5,000 shingles one in 170 pairs shares one by chance.
            columns["shingles"] = list_column((shingles.hashes >> np.uint64(32)).astype(np.uint32), shingles.counts)
    return pa.RecordBatch.from_pydict(columns)


def spread(values: np.ndarray, num_parts: int) -> np.ndarray:
    """The part of each uint64 value, 0 to num_parts - 1."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
    return (mixed * np.uint64(num_parts) >> np.uint64(32)).astype(np.int64)


class Groups(NamedTuple):
    """Rows sorted so that those of a group stand together, the survivor first; begins: row -> its group's first row."""

    rows: pa.RecordBatch
    begins: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Row -> how many rows its group has."""
        return np.bincount(self.begins, minlength=len(self.begins))[self.begins]

    def validation(self) -> np.ndarray:
        """Row -> whether every row of its group is validation and none is crowded."""
        own = self.rows.column("validation").to_numpy(zero_copy_only=False)
        if "crowded" in self.rows.schema.names:
            own = own & ~self.rows.column("crowded").to_numpy(zero_copy_only=False)
        lowered = np.ones(len(own), bool)
        np.logical_and.at(lowered, self.begins, own)
        return lowered[self.begins]


def group_rows(rows: pa.RecordBatch, by: tuple[str, ...]) -> Groups:
    table = pa.Table.from_batches([rows]).sort_by([(name, "ascending") for name in (*by, *_RANK)]).combine_chunks()
    ordered = table.to_batches()[0] if table.num_rows else rows
    begins_group = np.zeros(ordered.num_rows, bool)
    begins_group[:1] = True
    for name in by:
        values = ordered.column(name).to_numpy()
        begins_group[1:] |= values[1:] != values[:-1]
    begins = np.flatnonzero(begins_group)
    return Groups(ordered, begins[np.cumsum(begins_group) - 1] if len(begins) else begins)


def group_verdicts(groups: Groups, is_first: np.ndarray) -> dict[int, list[Verdict]]:
    """Batch -> verdicts on its documents that have duplicates; is_first: row -> whether only near ones precede it."""
    found: dict[int, list[Verdict]] = {}
    own = groups.rows.column("validation").to_numpy(zero_copy_only=False)
    validation = groups.validation()
    is_dropped = groups.begins != np.arange(len(own))
    concerned = np.flatnonzero(is_dropped | (validation != own))
    numbers, batches, ids = (groups.rows.column(name) for name in ("number", "batch", "id"))
    similarity: Any = groups.rows.column("similarity") if "similarity" in groups.rows.schema.names else None
    for row in concerned.tolist():
        kept = ids[int(groups.begins[row])].as_py() if is_dropped[row] else None
        alike = similarity[row].as_py() if similarity is not None and is_first[row] else None
        verdict = Verdict(numbers[row].as_py(), kept, NEAR if is_first[row] else EXACT, bool(validation[row]), alike)
        found.setdefault(batches[row].as_py(), []).append(verdict)
    return found


def exact_verdicts(signatures: pa.RecordBatch) -> dict[int, list[Verdict]]:
    """Batch -> verdicts, from all signatures of some exact hashes."""
    groups = group_rows(signatures, ("exact_0", "exact_1"))
    return group_verdicts(groups, np.zeros(signatures.num_rows, bool))


def exact_members(signatures: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[np.ndarray, np.ndarray], pa.RecordBatch]:
    """From all signatures of some exact hashes: the members of clusters to be (column `first`: the first of its exact
    group), edges between equal documents, and (band, number, order) rows of the first ones."""
    groups = group_rows(signatures, ("exact_0", "exact_1"))
    rows, begins = groups.rows, groups.begins
    is_first = begins == np.arange(len(begins))
    numbers = rows.column("number").to_numpy()
    edges = (numbers[~is_first], numbers[begins[~is_first]])
    members = rows.append_column("first", pa.array(is_first)).select(_MEMBER_COLUMNS)
    compared = rows.filter(pa.array(is_first & rows.column("has_words").to_numpy(zero_copy_only=False)))
    bands = compared.column("bands").flatten().to_numpy()
    num_bands = len(bands) // max(1, compared.num_rows)
    repeated = {
        name: pa.array(np.repeat(compared.column(column).to_numpy(), num_bands))
        for name, column in (("number", "number"), ("order", "exact_0"))
    }
    return members, edges, pa.RecordBatch.from_pydict({"band": pa.array(bands), **repeated})


class Found(NamedTuple):
    """What is known of some members: (numbers, label of the component), (numbers, highest similarity), and the numbers of
    those in crowded bands."""

    labels: tuple[np.ndarray, np.ndarray]
    similarities: tuple[np.ndarray, np.ndarray]
    crowded: np.ndarray


def label_members(members: pa.RecordBatch, found: Found) -> pa.RecordBatch:
    """The members that a component or a crowded band has, with their label and similarity.

    A document of a crowded band never is validation. There not every pair is compared, so a new document may come
    between two that were duplicates before; if one of them could be validation, what was trained on would come back as that.
    """
    numbers = members.column("number").to_numpy()
    is_crowded = np.isin(numbers, found.crowded)
    labels, has_label = _look_up(numbers, *found.labels, numbers)
    similarity, is_compared = _look_up(numbers, *found.similarities, np.zeros(len(numbers)))
    for name, column in (
        ("crowded", pa.array(is_crowded)),
        ("label", pa.array(labels)),
        ("similarity", pa.array(similarity, mask=~is_compared)),
    ):
        members = members.append_column(name, column)
    return members.filter(pa.array(has_label | is_crowded))


def _look_up(
    wanted: np.ndarray, keys: np.ndarray, values: np.ndarray, otherwise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The value of each wanted key, and whether it has one; the keys are sorted."""
    if not len(keys):
        return otherwise, np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    is_found = keys[places] == wanted
    return np.where(is_found, values[places], otherwise), is_found


def cluster_verdicts(members: pa.RecordBatch) -> dict[int, list[Verdict]]:
    """Batch -> verdicts, from all labelled members of some components."""
    groups = group_rows(members, ("label",))
    return group_verdicts(groups, groups.rows.column("first").to_numpy(zero_copy_only=False))
