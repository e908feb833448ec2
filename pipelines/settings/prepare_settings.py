"""The settings of `clozekit prepare`, checked when they are made."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clozekit.pipelines.dataset.row_limits import MAX_SEQUENCE_LENGTH
from clozekit.pipelines.settings.choices import check_choices, choice
from clozekit.pipelines.text_files.delimited import QUOTING
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    import numpy as np

INPUT_FORMATS = ("auto", "text", "jsonl", "csv", "tsv", "parquet", "tfrecord", "warc")
DOCUMENT_KINDS = ("file", "line", "block")
LONG_DOCUMENTS = ("tokens", "sentences", "drop")
PAIRS = ("none", "next", "order")
PACKINGS = ("best_fit", "none")


@dataclass(frozen=True)
class Source:
    """Some of the inputs under one name: paths, globs or directories, and how often each of their documents is taken.

    name: in the manifest and in counts. inputs: paths, globs or directories, at least one.
    weight: 1 takes every document once, 0.25 a quarter of them, 2.5 each twice and half of them once more. Which ones is
    decided by the hash of the seed and the document's id, so it is the same in every run.

    Raises:
        InputError: for a source without inputs, or a weight that is not from 0 to 1000.

    Example:

        >>> from clozekit.pipelines.settings.prepare_settings import Source
        >>> ReadSettings(sources=(Source("wiki", ("wiki/*.txt",)), Source("web", ("web/*.txt",), weight=0.25))).input_format
        'auto'
    """

    name: str
    inputs: tuple[str, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError(
                f"a source must name at least one input, source {self.name!r} names none; add paths or globs"
            )
        if not 0 <= self.weight <= 1000:
            raise InputError(f"the weight of a source must be from 0 to 1000, {self.name!r} has {self.weight}")


@dataclass(frozen=True)
class ReadSettings:
    """How documents are found in files.

    inputs: files, globs in quotes, or directories: text, JSON lines, CSV, TSV, Parquet, TFRecord, WARC or WET; plain, .gz,
        .bz2 or .zst. They are one source without a name.
    input_format: auto goes by the suffix: .jsonl, .ndjson and .json are JSON lines, .csv, .tsv, .parquet, .tfrecord, .warc
        and .wet what they say, the rest is text; .gz, .bz2 and .zst behind it are decompressed.
    document_kind: what a document is in a text file; block: what stands between blank lines.
    text_key: the field, column or feature that holds the text.
    id_key: the one that names the document; a document without it is known by the hash of its text.
    max_bad_rate: share of the records that may be bad: they are set aside in deadletter/; 0: one that can't be read fails
        the build, so that nothing is lost without a word.
    sources: a mixture of several, the first ones preferred among duplicates; weight 0.5 takes half of its documents, 2 each
        twice.
    max_document_mb: a longer record is a bad one: it is set aside before it fills the memory of a worker.
    quoting: whether quotation marks around a cell of a table are no part of it, and may hold line ends (double), or are
        text (none); auto: they quote in CSV and are text in TSV.

    Raises:
        InputError: for no inputs, two sources of one name, an unknown choice, a rate or size out of its bounds.

    Example:

        >>> ReadSettings(("corpus/*.jsonl",), text_key="body").max_document_bytes
        33554432
        >>> ReadSettings(("corpus.txt",), document_kind="page")
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: document_kind must be one of file, line, block, got 'page'
    """

    inputs: tuple[str, ...] = ()
    input_format: str = choice("auto", INPUT_FORMATS)
    document_kind: str = choice("file", DOCUMENT_KINDS)
    text_key: str = "text"
    id_key: str = "id"
    max_bad_rate: float = 0.0
    sources: tuple[Source, ...] = ()
    max_document_mb: float = 32.0
    quoting: str = choice("auto", QUOTING)

    def __post_init__(self) -> None:
        if not self.inputs and not self.sources:
            raise InputError(
                "at least one input is needed, got none; pass --input FILE, DIRECTORY or GLOB, or name them in read.inputs of a recipe"
            )
        names = [source.name for source in self.all_sources]
        if len(set(names)) < len(names):
            raise InputError(f"every source needs a name of its own, got {names}; rename one")
        check_choices(self)
        check_rate("max_bad_rate", self.max_bad_rate)
        if not 0 < self.max_document_mb <= 1024:
            raise InputError(f"max_document_mb must be above 0 and at most 1024, got {self.max_document_mb}")

    @property
    def all_sources(self) -> tuple[Source, ...]:
        return (*((Source("", self.inputs),) if self.inputs else ()), *self.sources)

    @property
    def max_document_bytes(self) -> int:
        return int(self.max_document_mb * 2**20)


@dataclass(frozen=True)
class RowRules:
    """How documents become rows and rows become shards.

    sequence_length: tokens a row holds.
    validation_rate: share of the documents that the validation split gets, chosen by the hash of their id; near and exact
        duplicates only all together, so with deduplication it gets a little less.
    seed: decides the order of the rows.
    shard_size_mb: size that a shard is planned for.
    num_shards: shards of the train split, in place of `shard_size_mb`.
    group_size: documents packed together; 20,000 gave a fill rate of 0.999 on paragraphs at length 512 and keeps a
        group of full rows near 40 MB.
    long_documents: those longer than a row are cut into full rows (tokens), between sentences (sentences), or dropped and
        counted (drop).
    pairs: next gives half of the pieces a second segment of another document (BERT's next-sentence objective, Devlin et
        al. 2018), order swaps the segments of half of them (ALBERT's, Lan et al. 2019).
    packing: best_fit fills rows with several documents, none is one a row: with several lengths each goes to the shortest
        that holds it.
    max_documents_per_row: documents packed together at most.
    """

    sequence_length: int | tuple[int, ...] = 512
    validation_rate: float = 0.01
    seed: int = 0
    shard_size_mb: float = 64.0
    num_shards: int | None = None
    group_size: int = 20_000
    long_documents: str = choice("tokens", LONG_DOCUMENTS)
    pairs: str = choice("none", PAIRS)
    packing: str = choice("best_fit", PACKINGS)
    max_documents_per_row: int | None = None


@dataclass(frozen=True)
class PrepareSettings(RowRules):
    """The rules for rows of one length, as for `rows` of a recipe.

    shorter_lengths: without packing, the shorter rows of the same build; pieces that fit them are not in these.
    longest_length: without packing, the longest rows of the same build: documents are cut for these; `sequence_length` if
        not given.

    Raises:
        InputError: for a length that is not from 8 to the longest row that the format allows, an unknown choice, a number out
            of its bounds, max_documents_per_row without packing.

    Source: pairs: Devlin et al. 2018 (arXiv 1810.04805), section 3.1; Lan et al. 2019 (arXiv 1909.11942), section 3.1.

    Example:

        >>> PrepareSettings(sequence_length=128, pairs="order").num_special
        3
        >>> PrepareSettings(sequence_length=4)
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: sequence_length must be at least 8, got 4
    """

    sequence_length: int = 512
    shorter_lengths: tuple[int, ...] = ()
    longest_length: int | None = None

    def __post_init__(self) -> None:
        check_at_least("sequence_length", self.sequence_length, 8)
        if self.sequence_length > MAX_SEQUENCE_LENGTH:
            raise InputError(
                f"sequence_length must be at most {MAX_SEQUENCE_LENGTH:,} tokens, got {self.sequence_length}; longer"
                " documents are cut into rows"
            )
        check_choices(self)
        if self.max_documents_per_row is not None:
            check_at_least("max_documents_per_row", self.max_documents_per_row, 1)
            if self.packing == "none":
                raise InputError(
                    f"max_documents_per_row is for packed rows, got {self.max_documents_per_row} with packing none; leave"
                    " one of them out"
                )
        if self.pairs == "next" and self.longest_length is not None:
            raise InputError(
                "pairs of the kind next are exchanged among rows of one length, got several lengths without packing; pack"
                " them, or build each length by itself"
            )
        check_rate("validation_rate", self.validation_rate)
        check_at_least("group_size", self.group_size, 1)
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")
        if not 0 < self.shard_size_mb < float("inf"):
            raise InputError(f"shard_size_mb must be above 0, got {self.shard_size_mb}")
        if self.num_shards is not None:
            check_at_least("num_shards", self.num_shards, 1)

    @property
    def num_special(self) -> int:
        """Special tokens around a piece: start and end, and with pairs the end between the segments."""
        return 2 if self.pairs == "none" else 3

    @property
    def by_sentence(self) -> bool:
        return self.long_documents == "sentences" or self.pairs != "none"

    @property
    def longest_piece(self) -> int:
        """Tokens of the longest piece, without special tokens."""
        longest = (self.longest_length or self.sequence_length) - self.num_special
        # Second segments are exchanged: any two segments must fit into a row together.
        return longest - longest % 2 if self.pairs == "next" else longest

    @property
    def longest_segment(self) -> int:
        return self.longest_piece // 2 if self.pairs == "next" else self.longest_piece - 1

    def holds(self, lengths: "np.ndarray") -> "np.ndarray":
        """Whether rows of this length are for pieces of so many tokens, and shorter rows of the build are not."""
        shortest = max(self.shorter_lengths, default=0) - self.num_special
        return (lengths > shortest) & (lengths <= self.sequence_length - self.num_special)

    def to_dict(self) -> dict[str, Any]:
        """What decides the dataset, as JSON has it."""
        # As JSON gives it back.
        return {**dataclasses.asdict(self), "shorter_lengths": list(self.shorter_lengths)}


@dataclass(frozen=True)
class RowSettings(RowRules):
    """The rules for rows of one length or of several.

    sequence_length: tokens a row holds; several make a dataset each in one pass, in OUTPUT/128, OUTPUT/512 and so on.
    """

    sequence_length: tuple[int, ...] = (PrepareSettings.sequence_length,)

    def options(self) -> PrepareSettings:
        """The settings of a build, for its first length. Raises InputError for those that contradict one another."""
        check_lengths(self.sequence_length)
        fields = {**vars(self), "sequence_length": self.sequence_length[0]}
        options = PrepareSettings(**fields)
        for length in self.sequence_length[1:]:
            dataclasses.replace(options, sequence_length=length)
        return options


def options_of_lengths(options: PrepareSettings, lengths: Sequence[int]) -> tuple[PrepareSettings, ...]:
    """The settings for rows of each length; without packing, each holds the pieces that the next shorter one can't.

    Raises InputError for a length that stands twice.
    """
    check_lengths(lengths)
    if options.packing != "none" or len(lengths) < 2:
        return tuple(dataclasses.replace(options, sequence_length=length) for length in lengths)
    return tuple(
        dataclasses.replace(
            options,
            sequence_length=length,
            shorter_lengths=tuple(sorted(other for other in lengths if other < length)),
            longest_length=max(lengths),
        )
        for length in lengths
    )


def check_lengths(lengths: Sequence[int]) -> None:
    """Raises InputError unless there is a sequence length, and none stands twice."""
    if not lengths:
        raise InputError("there must be at least one sequence length, got none; leave the key out for 512")
    if len(set(lengths)) < len(lengths):
        raise InputError(f"every sequence length must be another, got {', '.join(map(str, lengths))}; name each once")


def check_rate(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be a rate from 0 to 1, got {value}")


def check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, got {value}")
