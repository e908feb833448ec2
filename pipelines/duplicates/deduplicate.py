"""Deduplicating on Beam: signatures to groups, verdicts back to the batches they are about."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.duplicates import duplicate_groups as duplicates
from clozekit.pipelines.duplicates.duplicate_groups import Verdict
from clozekit.pipelines.duplicates.near_duplicates import FindNearDuplicates, cut_by, verdicts_kind
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.blocks import from_bytes, to_bytes
from clozekit.pipelines.running.documents import replace_column
from clozekit.pipelines.running.gathered_blocks import GathersBlocks, rows_kind, take_lists, take_rows
from clozekit.pipelines.running.stage import DUPLICATES, GuardedDoFn, StoreLines, counts_output, run_stage, side_output
from clozekit.pipelines.settings.corpus_settings import DeduplicateSettings

SIGNATURES, SHINGLES = "signatures", "shingles"
# Blocks travel with the elements.
_NOWHERE = BlockStore()


class _Sign(GuardedDoFn, GathersBlocks):
    """Batch of documents -> the documents by their batch; (part, signatures) and (part, shingles) on the side."""

    def __init__(self, options: DeduplicateSettings, num_parts: int, paths: Sequence[str], store: BlockStore) -> None:
        GuardedDoFn.__init__(self, "deduplicate", paths)
        cuts = {SIGNATURES: cut_by("exact_0", num_parts), SHINGLES: cut_by("number", num_parts)}
        GathersBlocks.__init__(self, store, [rows_kind(tag, cut) for tag, cut in cuts.items()])
        self._options = options

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        signatures, failed = self.guard(lambda batch: duplicates.sign_documents(batch, self._options), documents)
        yield from failed
        if not signatures.num_rows:
            return
        if failed:
            documents = documents.filter(pc.is_in(documents["number"], signatures["number"]))
            batch = pa.array(np.full(documents.num_rows, documents["number"][0].as_py(), np.uint64))
            signatures = replace_column(signatures, "batch", batch)
        yield documents.column("number")[0].as_py(), self._blocks.put(to_bytes(documents))
        if "shingles" in signatures.schema.names:
            yield from self._gather(None, signatures.select(["number", "shingles"]), SHINGLES)
            signatures = signatures.drop_columns(["shingles"])
        yield from self._gather(None, signatures, SIGNATURES)


class _FindExact(GathersBlocks):
    """(part, signatures) -> (batch, verdicts on its documents)."""

    def __init__(self, store: BlockStore) -> None:
        super().__init__(store, [verdicts_kind()])

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[Any]:
        signatures = take_rows(self._store, element[1])
        for batch, verdicts in duplicates.exact_verdicts(signatures).items():
            yield from self._gather(batch, verdicts)


class _Apply(beam.DoFn):
    """(batch, its documents and the verdicts on them) -> the kept documents."""

    def __init__(self, sources: Sequence[str], paths: Sequence[str], store: BlockStore) -> None:
        self._sources = sources
        self._paths = paths
        self._store = store

    def process(self, element: tuple[int, dict[str, Iterable[Any]]]) -> Iterable[Any]:
        (block,) = element[1]["documents"]
        documents = from_bytes(self._store.take(block))
        verdicts: dict[int, Verdict] = {one.number: one for one in take_lists(self._store, element[1]["verdicts"])}
        found = [verdicts.get(number) for number in documents.column("number").to_pylist()]
        is_kept = np.array([verdict is None or verdict.kept is None for verdict in found], bool)
        dropped = [verdict for verdict in found if verdict is not None and verdict.kept is not None]
        details = [
            {"kind": verdict.kind, "kept": verdict.kept}
            | ({} if verdict.similarity is None else {"similarity": round(verdict.similarity, 4)})
            for verdict in dropped
        ]
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
    """Batches of documents (with a column `validation`) -> one document of each cluster of duplicates.

    The one with the smallest (source, id) is kept, and it is validation only when its whole cluster is. Texts cross the
    workers once, by batch, and so do the shingles that near ones are compared by (4 bytes a word); everything else works
    on numbers, 600 bytes a document. All of it waits in `store`: of a local run only places pass through the process that leads.
    """

    def __init__(
        self,
        options: DeduplicateSettings,
        num_parts: int,
        sources: Sequence[str],
        paths: Sequence[str],
        store: BlockStore = _NOWHERE,
    ) -> None:
        super().__init__()
        self._options = options
        self._num_parts = num_parts
        self._sources = sources
        self._paths = paths
        self._store = store

    def expand(self, documents: Any) -> Any:
        sign = _Sign(self._options, self._num_parts, self._paths, self._store)
        signed = run_stage(documents, sign, "Sign", extra_tags=(SIGNATURES, SHINGLES))
        signatures = signed.extra[SIGNATURES] | "GroupSignatures" >> beam.GroupByKey()
        if self._options.is_near:
            find = FindNearDuplicates(self._options, self._num_parts, self._store)
            verdicts = (signatures, signed.extra[SHINGLES]) | "FindNear" >> find
        else:
            verdicts = signatures | "FindExact" >> beam.ParDo(_FindExact(self._store))
        joined = {"documents": signed.documents, "verdicts": verdicts} | "JoinVerdicts" >> beam.CoGroupByKey()
        applied = run_stage(joined, _Apply(self._sources, self._paths, self._store), "Apply")
        if self._store.folder is not None:
            # Here, where the lines are made: before two stages are joined a local runner keeps what they give.
            lines = applied.side_lines | "StoreLines" >> beam.ParDo(StoreLines(self._store))
            applied = applied._replace(side_lines=lines)
        return applied.joined_with(signed)
