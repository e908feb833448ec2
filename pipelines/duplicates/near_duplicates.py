"""Near duplicates on Beam: members of equal bands are compared, those alike joined to clusters, clusters to verdicts."""

import functools
from collections.abc import Hashable, Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.duplicates import duplicate_groups as duplicates
from clozekit.pipelines.duplicates import near_pairs
from clozekit.pipelines.duplicates.components import CombineComponents, Edges
from clozekit.pipelines.duplicates.duplicate_groups import Found, spread
from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks
from clozekit.pipelines.running.blocks import cut_parts, from_bytes, join_batches, runs
from clozekit.pipelines.running.gathered_blocks import (
    Cut,
    GathersBlocks,
    Kind,
    arrays_kind,
    join_arrays,
    lists_kind,
    rows_kind,
    take_arrays,
    take_rows,
)
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings

_MEMBERS, _BANDS = "members", "bands"
_PAIRS, _WANTED, _CROWDED, _SIMILAR = "pairs", "wanted", "crowded", "similar"
# What one takes in memory, about: five values of Python.
_VERDICT_BYTES = 300


def verdicts_kind() -> Kind:
    return lists_kind(_VERDICT_BYTES)


def cut_by(column: str, num_parts: int) -> Cut:
    """Cuts rows into parts by the values of a column, of uint64."""
    return functools.partial(_cut_rows, column, num_parts)


def _cut_rows(
    column: str, num_parts: int, _: Hashable, rows: pa.RecordBatch
) -> Iterable[tuple[Hashable, pa.RecordBatch]]:
    return cut_parts(rows, spread(rows.column(column).to_numpy(), num_parts))


class _FindMembers(GathersBlocks):
    """(part, signatures) -> edges between equal documents; (part, members) and (part, bands) on the side."""

    def __init__(self, num_parts: int, store: BlockStore) -> None:
        cuts = {_MEMBERS: cut_by("number", num_parts), _BANDS: cut_by("band", num_parts)}
        super().__init__(store, [rows_kind(tag, cut) for tag, cut in cuts.items()])

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        members, edges, bands = duplicates.exact_members(take_rows(self._store, element[1]))
        if len(edges[0]):
            yield edges
        for tag, rows in ((_MEMBERS, members), (_BANDS, bands)):
            yield from self._gather(None, rows, tag)


class _JoinBands(beam.DoFn):
    """(part, bands) -> edges: every document of a band is a duplicate of the others."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Edges]:
        edges = near_pairs.star_edges(take_rows(self._store, element[1]))
        if len(edges[0]):
            yield edges


def _cut(by: np.ndarray, num_parts: int, *arrays: np.ndarray) -> Iterable[tuple[int, tuple[np.ndarray, ...]]]:
    """The arrays by the part of `by`, in their order."""
    parts = spread(by, num_parts)
    order = np.argsort(parts, kind="stable")
    arrays = tuple(array[order] for array in arrays)
    for part, start, end in runs(parts[order]):
        yield part, tuple(array[start:end] for array in arrays)


class _FindPairs(GathersBlocks):
    """(part, bands) -> pairs to compare by the part of their first document; whose shingles go where, by the part of the
    document; and the documents of crowded bands."""

    def __init__(self, num_parts: int, store: BlockStore) -> None:
        super().__init__(store, map(arrays_kind, (_PAIRS, _WANTED, _CROWDED)))
        self._num_parts = num_parts

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        (first, second), crowded = near_pairs.candidate_pairs(take_rows(self._store, element[1]))
        numbers = np.concatenate([first, second])
        targets = np.tile(spread(first, self._num_parts), 2)
        numbers, targets = near_pairs.unique_pairs(numbers, targets)
        for tag, by, arrays in (
            (_PAIRS, first, (first, second)),
            (_WANTED, numbers, (numbers, targets)),
            (_CROWDED, crowded, (crowded,)),
        ):
            for part, cut in _cut(by, self._num_parts, *arrays):
                yield from self._gather(part, cut, tag)


class _SendSets(GathersBlocks):
    """(part, shingles of its documents and where they are wanted) -> (part that wants them, sets of shingles)."""

    def __init__(self, store: BlockStore) -> None:
        super().__init__(store, [rows_kind()])

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        numbers, targets = near_pairs.unique_pairs(*take_arrays(self._store, element[1]["wanted"], np.uint64, np.int64))
        if not len(numbers):
            for block in element[1]["shingles"]:
                self._store.pass_over(block)
            return
        wanted = np.unique(numbers)
        # One after the other: only what somebody wants is kept of each.
        blocks = (from_bytes(self._store.take(block)) for block in element[1]["shingles"])
        sets = join_batches([near_pairs.make_sets(block, wanted) for block in blocks])
        rows, targets = _rows_wanted(sets.column("number").to_numpy(), numbers, targets)
        for target, start, end in runs(targets):
            yield from self._gather(target, sets.take(pa.array(rows[start:end])))


def _rows_wanted(own: np.ndarray, numbers: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, targets): where in `own`, different numbers, those stand that the targets want; by target, then by row."""
    if not len(own):
        return own[:0], targets[:0]
    by_number = np.argsort(own, kind="stable")
    places = np.searchsorted(own, numbers, sorter=by_number)
    rows = by_number[np.minimum(places, len(own) - 1)]
    is_there = own[rows] == numbers
    rows, targets = rows[is_there], targets[is_there]
    order = np.lexsort((rows, targets))
    return rows[order], targets[order]


class _Compare(GathersBlocks):
    """(part, pairs and the sets of their documents) -> edges between those alike; (part, (numbers, the highest similarity
    of each)) on the side."""

    def __init__(self, min_similarity: float, num_parts: int, store: BlockStore) -> None:
        super().__init__(store, [arrays_kind(_SIMILAR)])
        self._min_similarity = min_similarity
        self._num_parts = num_parts

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        first, second = near_pairs.unique_pairs(*take_arrays(self._store, element[1]["pairs"], np.uint64, np.uint64))
        if not len(first):
            return
        sets = take_rows(self._store, element[1]["sets"])
        similarity = near_pairs.similarities((first, second), sets)
        is_near = similarity >= self._min_similarity
        first, second, similarity = first[is_near], second[is_near], similarity[is_near]
        if not len(first):
            return
        yield first, second
        numbers, best = near_pairs.highest(np.concatenate([first, second]), np.tile(similarity, 2))
        for part, cut in _cut(numbers, self._num_parts, numbers, best):
            yield from self._gather(part, cut, _SIMILAR)


class _CutLabels(PutsBlocks):
    """The nodes of all components and their labels -> (part, those of its documents)."""

    def __init__(self, num_parts: int, store: BlockStore) -> None:
        super().__init__(store)
        self._num_parts = num_parts

    def process(self, components: Edges) -> Iterable[tuple[int, bytes]]:
        nodes, labels = components
        for part, cut in _cut(nodes, self._num_parts, nodes, labels):
            yield part, self._blocks.put(join_arrays([cut]))


class _Label(GathersBlocks):
    """(part, members and what was found of the same numbers) -> (part, labelled members of the same clusters)."""

    def __init__(self, num_parts: int, store: BlockStore) -> None:
        super().__init__(store, [rows_kind(cut=cut_by("label", num_parts))])

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        joined, store = element[1], self._store
        nodes, labels = take_arrays(store, joined["labels"], np.uint64, np.uint64)
        found = Found(
            (nodes, labels),
            near_pairs.highest(*take_arrays(store, joined.get("similar", ()), np.uint64, np.float64)),
            np.unique(take_arrays(store, joined.get("crowded", ()), np.uint64)[0]),
        )
        members = list(joined["members"])
        if not members or not (len(nodes) or len(found.crowded)):
            return
        yield from self._gather(None, duplicates.label_members(take_rows(store, members), found))


class _Decide(GathersBlocks):
    """(part, members of clusters) -> (batch, verdicts on its documents)."""

    def __init__(self, store: BlockStore) -> None:
        super().__init__(store, [verdicts_kind()])

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        for batch, verdicts in duplicates.cluster_verdicts(take_rows(self._store, element[1])).items():
            yield from self._gather(batch, verdicts)


class FindNearDuplicates(beam.PTransform):
    """Signatures and shingles by their part -> (batch, verdicts on its documents).

    Pairs are cut into parts as the documents are, and the shingles of a document go once to each part that compares it:
    a worker holds one part, and no document takes more than one pair a band and neighbour (`near_pairs.MAX_COMPARED`).
    """

    def __init__(self, options: DeduplicateSettings, num_parts: int, store: BlockStore) -> None:
        super().__init__()
        self._options = options
        self._num_parts = num_parts
        self._store = store

    def expand(self, inputs: Any) -> Any:
        parts, store = self._num_parts, self._store
        signatures, shingles = inputs
        found = signatures | "FindMembers" >> beam.ParDo(_FindMembers(parts, store)).with_outputs(
            _MEMBERS, _BANDS, main="edges"
        )
        bands = found[_BANDS] | "GroupBands" >> beam.GroupByKey()
        about = {"members": found[_MEMBERS]}
        if self._options.min_similarity:
            candidates = bands | "FindPairs" >> beam.ParDo(_FindPairs(parts, store)).with_outputs(
                _PAIRS, _WANTED, _CROWDED
            )
            sets = (
                {"shingles": shingles, "wanted": candidates[_WANTED]}
                | "JoinShingles" >> beam.CoGroupByKey()
                | "SendSets" >> beam.ParDo(_SendSets(store))
            )
            compared = (
                {"pairs": candidates[_PAIRS], "sets": sets}
                | "JoinSets" >> beam.CoGroupByKey()
                | "Compare"
                >> beam.ParDo(_Compare(self._options.min_similarity, parts, store)).with_outputs(_SIMILAR, main="edges")
            )
            near = compared.edges
            about |= {"similar": compared[_SIMILAR], "crowded": candidates[_CROWDED]}
        else:
            near = bands | "JoinBands" >> beam.ParDo(_JoinBands(store))
        about["labels"] = (
            (found.edges, near)
            | "AllEdges" >> beam.Flatten()
            | "Components" >> beam.CombineGlobally(CombineComponents())
            | "CutLabels" >> beam.ParDo(_CutLabels(parts, store))
        )
        return (
            about
            | "JoinLabels" >> beam.CoGroupByKey()
            | "Label" >> beam.ParDo(_Label(parts, store))
            | "GroupClusters" >> beam.GroupByKey()
            | "Decide" >> beam.ParDo(_Decide(store))
        )
