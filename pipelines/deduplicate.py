"""Deduplicating on Beam: signatures to groups, groups to clusters, verdicts back to the batches they are about."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines import duplicates
from clozekit.pipelines.blocks import concatenate, from_bytes, to_bytes
from clozekit.pipelines.components import CombineComponents, Edges
from clozekit.pipelines.corpus_options import DeduplicateOptions
from clozekit.pipelines.documents import replace_column
from clozekit.pipelines.duplicates import Verdict, cut_parts, spread
from clozekit.pipelines.stage import DUPLICATES, GuardedDoFn, counts_output, run_stage, side_output

SIGNATURES = "signatures"
_MEMBERS, _BANDS = "members", "bands"


class _Sign(GuardedDoFn):
    """Batch of documents -> the documents by their batch, and (part, signatures) on the side."""

    def __init__(self, options: DeduplicateOptions, num_parts: int, paths: Sequence[str]) -> None:
        super().__init__("deduplicate", paths)
        self._options = options
        self._num_parts = num_parts

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        signatures, failed = self.guard(lambda batch: duplicates.sign_documents(batch, self._options), documents)
        yield from failed
        if not signatures.num_rows:
            return
        if failed:
            documents = documents.filter(pc.is_in(documents["number"], signatures["number"]))
            batch = pa.array(np.full(documents.num_rows, documents["number"][0].as_py(), np.uint64))
            signatures = replace_column(signatures, "batch", batch)
        yield documents.column("number")[0].as_py(), to_bytes(documents)
        for part, rows in cut_parts(signatures, spread(signatures.column("exact_0").to_numpy(), self._num_parts)):
            yield beam.pvalue.TaggedOutput(SIGNATURES, (part, to_bytes(rows)))


class _FindExact(beam.DoFn):
    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[tuple[int, list[Verdict]]]:
        yield from duplicates.exact_verdicts(concatenate(list(element[1]))).items()


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
    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Edges]:
        edges = duplicates.band_edges(concatenate(list(element[1])))
        if len(edges[0]):
            yield edges


class _CutLabels(beam.DoFn):
    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, components: Edges) -> Iterable[tuple[int, Edges]]:
        nodes, labels = components
        parts = spread(nodes, self._num_parts)
        for part in np.unique(parts).tolist():
            chosen = parts == part
            yield part, (nodes[chosen], labels[chosen])


class _Label(beam.DoFn):
    """(part, members and labels of the same numbers) -> (part, labelled members of the same clusters)."""

    def __init__(self, num_parts: int) -> None:
        self._num_parts = num_parts

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[tuple[int, bytes]]:
        joined = element[1]
        for nodes, labels in joined["labels"]:
            labelled = duplicates.label_members(concatenate(list(joined["members"])), nodes, labels)
            label_parts = spread(labelled.column("label").to_numpy(), self._num_parts)
            for part, rows in cut_parts(labelled, label_parts):
                yield part, to_bytes(rows)


class _Decide(beam.DoFn):
    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[tuple[int, list[Verdict]]]:
        yield from duplicates.cluster_verdicts(concatenate(list(element[1]))).items()


class _Apply(beam.DoFn):
    """(batch, its documents and the verdicts on them) -> the kept documents."""

    def __init__(self, sources: Sequence[str], paths: Sequence[str]) -> None:
        self._sources = sources
        self._paths = paths

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        (block,) = element[1]["documents"]
        documents = from_bytes(block)
        verdicts = {verdict.number: verdict for part in element[1]["verdicts"] for verdict in part}
        found = [verdicts.get(number) for number in documents.column("number").to_pylist()]
        is_kept = np.array([verdict is None or verdict.kept is None for verdict in found], bool)
        dropped = [verdict for verdict in found if verdict is not None and verdict.kept is not None]
        details = [{"kind": verdict.kind, "kept": verdict.kept} for verdict in dropped]
        duplicated = documents.filter(pa.array(~is_kept))
        yield from side_output(DUPLICATES, duplicated, self._paths, self._sources, details, with_text=False)
        kinds = [verdict.kind for verdict in dropped]
        yield counts_output({f"duplicates_{kind}": kinds.count(kind) for kind in ("exact", "near")})
        own = documents.column("validation").to_pylist()
        lowered = [mine if verdict is None else verdict.validation for mine, verdict in zip(own, found, strict=True)]
        kept = replace_column(documents, "validation", pa.array(lowered, pa.bool_())).filter(pa.array(is_kept))
        if kept.num_rows:
            yield kept


class Deduplicate(beam.PTransform):
    """Batches of documents (with a column `validation`) -> one document of each cluster of twins.

    The one with the smallest (source, id) is kept, and it is validation only when its whole cluster is. Texts cross the
    workers once, by batch; everything else works on numbers of 200 bytes a document.
    """

    def __init__(
        self, options: DeduplicateOptions, num_parts: int, sources: Sequence[str], paths: Sequence[str]
    ) -> None:
        super().__init__()
        self._options = options
        self._num_parts = num_parts
        self._sources = sources
        self._paths = paths

    def expand(self, documents: Any) -> Any:
        signed = run_stage(
            documents, _Sign(self._options, self._num_parts, self._paths), "Sign", extra_tags=(SIGNATURES,)
        )
        signatures = signed.extra[SIGNATURES] | "GroupSignatures" >> beam.GroupByKey()
        if self._options.is_near:
            verdicts = self._near_verdicts(signatures)
        else:
            verdicts = signatures | "FindExact" >> beam.ParDo(_FindExact())
        joined = {"documents": signed.documents, "verdicts": verdicts} | "JoinVerdicts" >> beam.CoGroupByKey()
        applied = run_stage(joined, _Apply(self._sources, self._paths), "Apply")
        return applied.joined_with(signed)

    def _near_verdicts(self, signatures: Any) -> Any:
        parts = self._num_parts
        found = signatures | "FindMembers" >> beam.ParDo(_FindMembers(parts)).with_outputs(
            _MEMBERS, _BANDS, main="edges"
        )
        near = found[_BANDS] | "GroupBands" >> beam.GroupByKey() | "JoinBands" >> beam.ParDo(_JoinBands())
        labels = (
            (found.edges, near)
            | "AllEdges" >> beam.Flatten()
            | "Components" >> beam.CombineGlobally(CombineComponents())
            | "CutLabels" >> beam.ParDo(_CutLabels(parts))
        )
        return (
            {"members": found[_MEMBERS], "labels": labels}
            | "JoinLabels" >> beam.CoGroupByKey()
            | "Label" >> beam.ParDo(_Label(parts))
            | "GroupClusters" >> beam.GroupByKey()
            | "Decide" >> beam.ParDo(_Decide())
        )
