"""Near duplicates on Beam: members of equal bands are compared, those alike joined to clusters, clusters to verdicts."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clozekit.pipelines.duplicates import duplicate_groups as duplicates
from clozekit.pipelines.duplicates import near_pairs
from clozekit.pipelines.duplicates.components import CombineComponents, Edges
from clozekit.pipelines.duplicates.duplicate_groups import Found, Verdict, cut_parts, spread
from clozekit.pipelines.running.block_store import BlockStore, PutsBlocks
from clozekit.pipelines.running.blocks import concatenate, from_bytes, join_batches, to_bytes
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings

_MEMBERS, _BANDS = "members", "bands"
_PAIRS, _WANTED, _CROWDED, _SIMILAR = "pairs", "wanted", "crowded", "similar"


class _FindMembers(beam.DoFn):
    """(part, signatures) -> edges between equal documents; (part, members) and (part, bands) on the side."""

    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        members, edges, bands = duplicates.exact_members(concatenate(list(element[1])))
        if len(edges[0]):
            yield edges
        for tag, rows, key in ((_MEMBERS, members, "number"), (_BANDS, bands, "band")):
            for part, chosen in cut_parts(rows, spread(rows.column(key).to_numpy(), self._num_parts)):
                yield beam.pvalue.TaggedOutput(tag, (part, to_bytes(chosen)))


class _JoinBands(beam.DoFn):
    """(part, bands) -> edges: every document of a band is a duplicate of the others."""

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Edges]:
        edges = near_pairs.star_edges(concatenate(list(element[1])))
        if len(edges[0]):
            yield edges


def _cut(by: np.ndarray, num_parts: int, *arrays: np.ndarray) -> Iterable[tuple[int, tuple[np.ndarray, ...]]]:
    """The arrays by the part of `by`."""
    parts = spread(by, num_parts)
    for part in np.unique(parts).tolist():
        yield part, tuple(array[parts == part] for array in arrays)


def _gathered(arrays: Iterable[tuple[np.ndarray, ...]], *kinds: type) -> tuple[np.ndarray, ...]:
    """All first arrays as one, all second ones, ..."""
    return tuple(
        np.concatenate(column) for column in zip(*arrays, tuple(np.zeros(0, kind) for kind in kinds), strict=True)
    )


class _FindPairs(beam.DoFn):
    """(part, bands) -> pairs to compare by the part of their first document; whose shingles go where, by the part of the
    document; and the documents of crowded bands."""

    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        (first, second), crowded = near_pairs.candidate_pairs(concatenate(list(element[1])))
        numbers = np.concatenate([first, second])
        targets = np.tile(spread(first, self._num_parts), 2)
        numbers, targets = near_pairs.unique_pairs(numbers, targets)
        for tag, by, arrays in (
            (_PAIRS, first, (first, second)),
            (_WANTED, numbers, (numbers, targets)),
            (_CROWDED, crowded, (crowded,)),
        ):
            for cut in _cut(by, self._num_parts, *arrays):
                yield beam.pvalue.TaggedOutput(tag, cut)


class _SendSets(PutsBlocks):
    """(part, shingles of its documents and where they are wanted) -> (part that wants them, sets of shingles)."""

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[tuple[int, bytes]]:
        numbers, targets = near_pairs.unique_pairs(*_gathered(element[1]["wanted"], np.uint64, np.int64))
        if not len(numbers):
            return
        wanted = np.unique(numbers)
        # One after the other: only what somebody wants is kept of each.
        blocks = (from_bytes(self._store.take(block)) for block in element[1]["shingles"])
        sets = join_batches([near_pairs.make_sets(block, wanted) for block in blocks])
        for target in np.unique(targets).tolist():
            rows = np.isin(sets.column("number").to_numpy(), numbers[targets == target])
            yield target, self._blocks.put(to_bytes(sets.filter(pa.array(rows))))


class _Compare(beam.DoFn):
    """(part, pairs and the sets of their documents) -> edges between those alike; (part, (numbers, the highest similarity
    of each)) on the side."""

    def __init__(self, min_similarity: float, num_parts: int, store: BlockStore) -> None:
        self._min_similarity = min_similarity
        self._num_parts = num_parts
        self._store = store

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        first, second = near_pairs.unique_pairs(*_gathered(element[1]["pairs"], np.uint64, np.uint64))
        if not len(first):
            return
        sets = concatenate([self._store.take(block) for block in element[1]["sets"]])
        similarity = near_pairs.similarities((first, second), sets)
        is_near = similarity >= self._min_similarity
        first, second, similarity = first[is_near], second[is_near], similarity[is_near]
        if not len(first):
            return
        yield first, second
        numbers, best = near_pairs.highest(np.concatenate([first, second]), np.tile(similarity, 2))
        for cut in _cut(numbers, self._num_parts, numbers, best):
            yield beam.pvalue.TaggedOutput(_SIMILAR, cut)


class _CutLabels(beam.DoFn):
    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, components: Edges) -> Iterable[tuple[int, Any]]:
        nodes, labels = components
        yield from _cut(nodes, self._num_parts, nodes, labels)


class _Label(beam.DoFn):
    """(part, members and what was found of the same numbers) -> (part, labelled members of the same clusters)."""

    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[tuple[int, bytes]]:
        joined = element[1]
        nodes, labels = _gathered(joined["labels"], np.uint64, np.uint64)
        found = Found(
            (nodes, labels),
            near_pairs.highest(*_gathered(joined.get("similar", ()), np.uint64, np.float64)),
            np.unique(_gathered(joined.get("crowded", ()), np.uint64)[0]),
        )
        members = list(joined["members"])
        if not members or not (len(nodes) or len(found.crowded)):
            return
        labelled = duplicates.label_members(concatenate(members), found)
        for part, rows in cut_parts(labelled, spread(labelled.column("label").to_numpy(), self._num_parts)):
            yield part, to_bytes(rows)


class _Decide(beam.DoFn):
    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[tuple[int, list[Verdict]]]:
        yield from duplicates.cluster_verdicts(concatenate(list(element[1]))).items()


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
        found = signatures | "FindMembers" >> beam.ParDo(_FindMembers(parts)).with_outputs(
            _MEMBERS, _BANDS, main="edges"
        )
        bands = found[_BANDS] | "GroupBands" >> beam.GroupByKey()
        about = {"members": found[_MEMBERS]}
        if self._options.min_similarity:
            candidates = bands | "FindPairs" >> beam.ParDo(_FindPairs(parts)).with_outputs(_PAIRS, _WANTED, _CROWDED)
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
            near = bands | "JoinBands" >> beam.ParDo(_JoinBands())
        about["labels"] = (
            (found.edges, near)
            | "AllEdges" >> beam.Flatten()
            | "Components" >> beam.CombineGlobally(CombineComponents())
            | "CutLabels" >> beam.ParDo(_CutLabels(parts))
        )
        return (
            about
            | "JoinLabels" >> beam.CoGroupByKey()
            | "Label" >> beam.ParDo(_Label(parts))
            | "GroupClusters" >> beam.GroupByKey()
            | "Decide" >> beam.ParDo(_Decide())
        )
