"""Cleaning and filtering on Beam: texts made clean, tags computed (or found kept), rules applied to them."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.cleaning import tags
from clozekit.pipelines.cleaning.clean_text import clean_texts
from clozekit.pipelines.running.blocks import from_bytes, to_bytes
from clozekit.pipelines.running.documents import replace_column
from clozekit.pipelines.running.stage import REJECTS, GuardedDoFn, counts_output, run_stage, side_output
from clozekit.pipelines.settings.corpus_settings import CleanSettings, CorpusSettings, FilterSettings
from clozekit.pipelines.storage.files import file_size, join, read_bytes
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import write_bytes_whole

_TAG = "tag."
EMPTY = "empty"


def check_corpus(corpus: CorpusSettings) -> None:
    """Raises InputError for a rule on a tag that does not exist, a language that is not known, and an extra that is not
    installed: here, before any worker starts."""
    options = corpus.filter
    clean_texts(pa.array([], pa.large_string()), corpus.clean)
    if options.bad_words is not None:
        tags.read_bad_words(options.bad_words)
    for tag in options.rules:
        if tag not in tags.TAGS:
            raise InputError(f"a rule must name a tag ({', '.join(tags.TAGS)}), got {tag!r}")
    if options.languages:
        known = tags.known_languages()
        for language in options.languages:
            if language not in known:
                raise InputError(f"a language must be one of {' '.join(known)}, got {language!r}")


def wanted_tags(options: FilterSettings) -> list[str]:
    """The tags that the rules ask for; all that are cheap when they are kept, so that later runs may ask for them."""
    names = list(options.all_rules())
    if options.languages:
        names += [tags.LANGUAGE, tags.LANGUAGE_PROBABILITY]
    if options.tags is not None:
        dear = ("gram", "language", tags.BAD_WORDS)
        names += [name for name in tags.TAGS if name not in names and not any(part in name for part in dear)]
    return sorted(set(names))


def add_tags(documents: pa.RecordBatch, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """The documents with a column `tag.<name>` for each; columns: name of a tag -> its values, (num_documents,)."""
    for name, values in columns.items():
        documents = documents.append_column(_TAG + name, values if isinstance(values, pa.Array) else pa.array(values))
    return documents


def tags_of(documents: pa.RecordBatch) -> list[dict[str, Any]]:
    """The tags of each document by their names."""
    names = [name for name in documents.schema.names if name.startswith(_TAG)]
    measured = [documents.column(name).to_pylist() for name in names]
    return [
        {name.removeprefix(_TAG): column[row] for name, column in zip(names, measured, strict=True)}
        for row in range(documents.num_rows)
    ]


def first_broken_rules(documents: pa.RecordBatch, options: FilterSettings) -> list[str | None]:
    """The name of the first rule that each document breaks, None for those to keep. A rule is called after its tag."""
    broken: list[str | None] = [None] * documents.num_rows
    is_broken = np.zeros(documents.num_rows, bool)

    def note(rule: str, breaks: np.ndarray) -> None:
        for row in np.flatnonzero(breaks & ~is_broken).tolist():
            broken[row] = rule
        is_broken[:] |= breaks

    note(EMPTY, pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(documents.column("text"))), 0).to_numpy(False))
    for tag, (low, high) in options.all_rules().items():
        values = documents.column(_TAG + tag).to_numpy()
        note(tag, (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high)))
    if options.languages:
        found = documents.column(_TAG + tags.LANGUAGE)
        sure = documents.column(_TAG + tags.LANGUAGE_PROBABILITY).to_numpy() >= options.min_language_probability
        wanted = pc.is_in(found, pa.array(options.languages, pa.string())).to_numpy(False)
        note(tags.LANGUAGE, ~(wanted & sure))
    return broken


class _Clean(GuardedDoFn):
    def __init__(self, options: CleanSettings, paths: Sequence[str]) -> None:
        super().__init__("clean", paths)
        self._options = options

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        def clean(batch: pa.RecordBatch) -> pa.RecordBatch:
            return replace_column(batch, "text", clean_texts(batch.column("text"), self._options))

        cleaned, failed = self.guard(clean, documents)
        yield from failed
        if cleaned.num_rows:
            yield cleaned


class _Tag(GuardedDoFn):
    """Adds a column `tag.<name>` for each tag; batches whose tags are kept in `directory` get those."""

    def __init__(
        self, names: Sequence[str], directory: str | None, paths: Sequence[str], bad_words: str | None = None
    ) -> None:
        super().__init__("tag", paths)
        self._names = list(names)
        self._directory = directory
        self._bad_words_path = bad_words
        self._bad_words: tuple[str, ...] = ()

    def setup(self) -> None:
        if self._bad_words_path is not None:
            self._bad_words = tags.read_bad_words(self._bad_words_path)

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        tagged, failed = self.guard(self._tag, documents)
        yield from failed
        if tagged.num_rows:
            yield tagged

    def _tag(self, documents: pa.RecordBatch) -> pa.RecordBatch:
        texts = documents.column("text")
        path = None if self._directory is None else join(self._directory, f"{self._key(texts)}.arrow")
        kept = None if path is None or file_size(path) is None else from_bytes(read_bytes(path))
        if kept is None:
            columns = tags.tag_texts(texts, self._names, self._bad_words)
            kept = pa.RecordBatch.from_pydict(columns)
            if path is not None:
                write_bytes_whole(path, to_bytes(kept))
        return add_tags(documents, {name: kept.column(name) for name in self._names})

    def _key(self, texts: pa.Array) -> str:
        """What the tags are a function of: which they are, who computes them, the texts."""
        try:
            identifier = version("py3langid")
        except PackageNotFoundError:
            identifier = ""
        digest = hashlib.blake2b(
            json.dumps([tags.TAGS_VERSION, self._names, identifier, self._bad_words]).encode(), digest_size=16
        )
        sink = io.BytesIO()
        sink.write(to_bytes(pa.RecordBatch.from_arrays([texts], names=["text"])))
        digest.update(sink.getbuffer())
        return digest.hexdigest()


class _Filter(beam.DoFn):
    def __init__(self, options: FilterSettings, sources: Sequence[str], paths: Sequence[str]) -> None:
        self._options = options
        self._sources = sources
        self._paths = paths

    def process(self, documents: pa.RecordBatch) -> Iterable[Any]:
        broken = first_broken_rules(documents, self._options)
        names = [name for name in documents.schema.names if name.startswith(_TAG)]
        is_kept = pa.array([rule is None for rule in broken])
        rejected = documents.filter(pc.invert(is_kept))
        rules = [rule for rule in broken if rule is not None]
        details = [{"rule": rule, "tags": found} for rule, found in zip(rules, tags_of(rejected), strict=True)]
        yield from side_output(REJECTS, rejected, self._paths, self._sources, details, with_text=True)
        counts = {"rejected_empty": 0, **{f"rejected_{rule}": 0 for rule in self._options.all_rules()}}
        for rule in rules:
            counts[f"rejected_{rule}"] = counts.get(f"rejected_{rule}", 0) + 1
        yield counts_output(counts)
        kept = documents.filter(is_kept).drop_columns(names) if names else documents.filter(is_kept)
        if kept.num_rows:
            yield kept


class CleanDocuments(beam.PTransform):
    """Batches of documents -> the same with clean texts."""

    def __init__(self, options: CleanSettings, paths: Sequence[str]) -> None:
        super().__init__()
        self._work = _Clean(options, paths)

    def expand(self, documents: Any) -> Any:
        return run_stage(documents, self._work, "Clean")


class TagDocuments(beam.PTransform):
    """Batches of documents -> the same with a column `tag.<name>` for each that the rules ask for."""

    def __init__(self, options: FilterSettings, paths: Sequence[str]) -> None:
        super().__init__()
        self._work = _Tag(wanted_tags(options), options.tags, paths, options.bad_words)

    def expand(self, documents: Any) -> Any:
        return run_stage(documents, self._work, "Tag")


class FilterDocuments(beam.PTransform):
    """Tagged documents -> those that break no rule, without their tags. Texts that became empty go too."""

    def __init__(self, options: FilterSettings, sources: Sequence[str], paths: Sequence[str]) -> None:
        super().__init__()
        self._work = _Filter(options, sources, paths)

    def expand(self, documents: Any) -> Any:
        return run_stage(documents, self._work, "Filter")
