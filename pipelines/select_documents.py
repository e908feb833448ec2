"""Selecting: everything between the files and the tokenizer, in one transform that `vocab` and `prepare` share."""

from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from clozekit.pipelines.cleaning.clean_documents import CleanDocuments, FilterDocuments, TagDocuments, wanted_tags
from clozekit.pipelines.duplicates.decontaminate import Decontaminate, evaluation_reading
from clozekit.pipelines.duplicates.deduplicate import Deduplicate
from clozekit.pipelines.reading.read_documents import ReadDocuments, WorkItem, find_sources
from clozekit.pipelines.rows.mixture import RepeatSources, ThinSources
from clozekit.pipelines.rows.split import SplitDocuments
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.packed import PackedPaths
from clozekit.pipelines.running.progress import Progress
from clozekit.pipelines.running.stage import StageOutputs, StoreLines
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.text_files.open_input import is_compressed

# Side files and the parts of joins are planned for this much input each: a compressed file is taken for four times its
# size, as text is. At the highest, what one part sends to each other one is 17 million elements; four times as many parts would
# send sixteen times as many.
PART_BYTES = 64_000_000
MAX_PARTS = 4096
# Blocks travel with the elements.
_NOWHERE = BlockStore()


def files_read(inputs: Sequence[InputFile], corpus: CorpusSettings) -> list[str]:
    """The paths of all files that decide the dataset, but those of the tokenizer."""
    paths = [file.path for file in inputs]
    if corpus.decontaminate.inputs:
        paths += [file.path for file in find_sources(evaluation_reading(corpus.decontaminate))]
    return paths if corpus.filter.bad_words is None else [*paths, corpus.filter.bad_words]


def num_parts(items: Sequence[WorkItem]) -> int:
    """In how many parts what is joined or kept aside is cut; no output depends on it but the names of side files."""
    num_bytes = sum(item.num_bytes * (4 if is_compressed(item.file.path) else 1) for item in items)
    return min(MAX_PARTS, 1 + num_bytes // PART_BYTES)


class SelectDocuments(beam.PTransform):
    """Reads, thins, cleans, filters, decontaminates, splits, deduplicates and repeats, as far as the options ask for it.

    A transform from the root of a pipeline to `StageOutputs`: documents are Arrow record batches with the columns id and text,
    strings; `counts` are (name, number), `side_lines` and `dead_letters` what was left out.

    Args:
        items: what workers read, from `split_files`.
        reading: how documents are found in files.
        corpus: what happens to them.
        seed: decides the split and which documents of a weighted source are taken.
        validation_rate: share of the documents that the validation split gets, 0 to 1.
        progress: the bars of a local run, or None.
        store: where blocks wait between stages; by default they travel with the elements.

    Example:

        >>> import apache_beam as beam
        >>> from clozekit.pipelines.reading.read_documents import find_sources, split_files
        >>> from clozekit.pipelines.select_documents import SelectDocuments
        >>> from clozekit.pipelines.settings.corpus_settings import CleanSettings, CorpusSettings
        >>> items = split_files(find_sources(read_lines), read_lines)
        >>> with beam.Pipeline() as root:
        ...     selected = root | SelectDocuments(items, read_lines, CorpusSettings(CleanSettings(unicode=True)))
        ...     _ = selected.documents | beam.Map(lambda batch: batch.num_rows) | beam.Map(print)
        36
    """

    def __init__(
        self,
        items: Sequence[WorkItem],
        reading: ReadSettings,
        corpus: CorpusSettings,
        seed: int = 0,
        validation_rate: float = 0.0,
        progress: Progress | None = None,
        store: BlockStore = _NOWHERE,
    ) -> None:
        super().__init__()
        self._items = items
        self._reading = reading
        self._corpus = corpus
        self._seed = seed
        self._validation_rate = validation_rate
        self._progress = progress
        self._store = store

    def expand(self, root: Any) -> Any:
        """Adds the stages that the options ask for; Beam calls it."""
        sources = self._reading.all_sources
        paths = PackedPaths([item.file.path for item in self._items])
        names = [source.name for source in sources]
        parts = num_parts(self._items)
        weights = [source.weight for source in sources]
        stages: list[StageOutputs] = []
        documents = root

        def then(label: str, transform: beam.PTransform) -> None:
            nonlocal documents
            outputs = documents | label >> transform
            stored = outputs.side_lines | f"Store{label}" >> beam.ParDo(StoreLines(self._store))
            stages.append(outputs._replace(side_lines=stored))
            documents = outputs.documents

        then("ReadDocuments", ReadDocuments(self._items, self._reading, self._progress))

        if min(weights) < 1:
            then("ThinSources", ThinSources(sources, self._seed, paths))
        corpus = self._corpus
        if corpus.clean.is_on:
            then("CleanDocuments", CleanDocuments(corpus.clean, paths))
        if wanted_tags(corpus.filter):
            then("TagDocuments", TagDocuments(corpus.filter, paths))
        if corpus.clean.is_on or corpus.filter.is_on:
            then("FilterDocuments", FilterDocuments(corpus.filter, names, paths))
        if corpus.decontaminate.inputs:
            then("Decontaminate", Decontaminate(corpus.decontaminate, names, paths))
        documents = documents | "SplitDocuments" >> SplitDocuments(self._seed, self._validation_rate)
        if corpus.deduplicate.kind != "none":
            then("Deduplicate", Deduplicate(corpus.deduplicate, parts, names, paths, self._store))
        if max(weights) > 1:
            then("RepeatSources", RepeatSources(sources, self._seed))
        return stages[-1]._replace(documents=documents).joined_with(*stages[:-1])
