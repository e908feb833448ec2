"""Preparing a dataset of files: what is read and what decides the bytes. Wiring only; each stage stands in its own file."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from clozekit.pipelines.build_datasets import Running, Selection, build_datasets
from clozekit.pipelines.cleaning.clean_documents import check_corpus
from clozekit.pipelines.cleaning.tags import read_bad_words
from clozekit.pipelines.dataset.manifest import Manifest, TokenizerInfo, has_manifest
from clozekit.pipelines.dataset.manifest_schema import special_ids_of
from clozekit.pipelines.duplicates.decontaminate import evaluation_reading
from clozekit.pipelines.reading.input_files import Skipped
from clozekit.pipelines.reading.read_documents import find_sources, split_files
from clozekit.pipelines.rows.commit import BuildInfo
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.packed import PackedPaths
from clozekit.pipelines.running.progress import Progress
from clozekit.pipelines.running.runners import LOCAL_RUNNER, runner_options
from clozekit.pipelines.select_documents import SelectDocuments, files_read, num_parts
from clozekit.pipelines.settings.corpus_settings import AS_READ, CorpusSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings, options_of_lengths
from clozekit.pipelines.storage.files import InputFile, join
from clozekit.pipelines.text_files.file_states import states_of
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

# Raise it when the same settings would give other bytes: an unfinished build of the old code is then not continued.
BUILD_VERSION = 2


def describe_tokenizer(tokenizer: Tokenizer) -> TokenizerInfo:
    special = special_ids_of(tokenizer)
    return TokenizerInfo(type(tokenizer).__name__, tokenizer.sha256(), tokenizer.vocabulary_size(), special)


def describe_corpus(corpus: CorpusSettings) -> dict[str, Any]:
    """The settings of a corpus with the states of the files that they name, in place of where those stand."""
    described = corpus.to_dict()
    if corpus.decontaminate.inputs:
        files = find_sources(evaluation_reading(corpus.decontaminate))
        described["decontaminate"]["inputs"] = [dataclasses.asdict(file) for file in files]
    if corpus.filter.bad_words is not None:
        words = "\n".join(read_bad_words(corpus.filter.bad_words))
        described["filter"]["bad_words"] = hashlib.sha256(words.encode()).hexdigest()
    return described


def select_files(
    inputs: Sequence[InputFile], reading: ReadSettings, corpus: CorpusSettings, options: PrepareSettings
) -> Selection:
    """The documents of some files, by the seed and the validation rate of `options`."""
    items = split_files(inputs, reading)

    def select(store: BlockStore, progress: Progress | None) -> SelectDocuments:
        return SelectDocuments(items, reading, corpus, options.seed, options.validation_rate, progress, store)

    paths = PackedPaths([item.file.path for item in items])
    return Selection(select, paths, num_parts(items), reading.max_bad_rate, inputs)


def describe_build(
    inputs: Sequence[InputFile],
    reading: ReadSettings,
    corpus: CorpusSettings,
    options: PrepareSettings,
    tokenizer: TokenizerInfo,
    runner: str,
) -> BuildInfo:
    """The build and its id: two builds with one id give the same bytes, so one may finish what the other began."""
    # Neither how the inputs were spelled nor how many bad records are bearable changes the bytes.
    read = dataclasses.asdict(reading)
    for name in ("inputs", "max_bad_rate"):
        del read[name]
    # A dataset that was made before there was a choice is still the one that these settings make.
    if reading.quoting == "auto":
        del read["quoting"]
    read["sources"] = [{"name": source.name, "weight": source.weight} for source in reading.sources]
    settings = {"read": read, "corpus": describe_corpus(corpus), "prepare": options.to_dict()}
    described_inputs = tuple(dataclasses.asdict(file) for file in inputs)
    decides = [BUILD_VERSION, settings, described_inputs, tokenizer.sha256]
    build_id = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return BuildInfo(build_id, options.sequence_length, settings, tokenizer, described_inputs, runner)


def prepare(
    reading: ReadSettings,
    options: PrepareSettings,
    tokenizer_directory: str,
    directory: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
    corpus: CorpusSettings = AS_READ,
    only_shown: bool = False,
) -> tuple[Manifest, bool]:
    """Builds the dataset in `directory`: reads, cleans, splits, tokenizes, packs, writes shards and then the manifest.

    A finished dataset of the same build is left as it is; a different one is refused unless `overwrite`. What is left of an
    interrupted build is gone on from.

    Args:
        reading: which files, and how documents are found in them.
        options: how documents become rows and rows become shards.
        tokenizer_directory: a tokenizer or a preset, a path or a URL.
        directory: where the dataset goes, a path or a URL.
        runner: of Beam: "DirectRunner", or "DataflowRunner", "FlinkRunner" and so on.
        num_workers: processes of the local runner.
        beam_arguments: more options of Beam, as its command line has them.
        overwrite: whether a different dataset is replaced.
        show_progress: bars on stderr, with the local runner.
        corpus: cleaning, rules, decontamination and deduplication; by default none.
        only_shown: the runner shows the job and runs nothing, so nothing is written to the output either.

    Returns:
        The manifest of the dataset, and whether anything had to be done.

    Raises:
        InputError: for inputs, a tokenizer or options that break a rule, and for a different dataset in `directory`.

    Example:

        >>> from clozekit.pipelines.prepare import prepare
        >>> manifest, built = prepare(
        ...     read_lines, PrepareSettings(sequence_length=16, validation_rate=0.25), "tiny/tokenizer", "tiny/dataset"
        ... )
        >>> built  # it was there already
        False
        >>> {name: split.rows for name, split in manifest.splits.items()}
        {'train': 28, 'validation': 8}
    """
    directories = {directory: options}
    (result,) = prepare_datasets(
        reading,
        directories,
        tokenizer_directory,
        directory,
        runner,
        num_workers,
        beam_arguments,
        overwrite,
        show_progress,
        corpus,
        only_shown,
    )
    return result


def prepare_lengths(
    reading: ReadSettings,
    options: PrepareSettings,
    lengths: Sequence[int],
    tokenizer_directory: str,
    directory: str,
    **running: Any,
) -> dict[str, tuple[Manifest, bool]]:
    """Builds a dataset for each sequence length, in one pass over the inputs.

    Each is what a build of that length alone gives. A single one goes into `directory`, several into folders of it that are
    named by the length.

    Args:
        reading, options, tokenizer_directory: see `prepare`; the length in `options` is not used.
        lengths: tokens of the rows of each dataset.
        directory: where the folders go.

    Returns:
        directory -> what `prepare` returns; `running` are its other arguments.

    Raises:
        InputError: for a length that stands twice, or a dataset in `directory` itself.

    Example:

        >>> from clozekit.pipelines.prepare import prepare_lengths
        >>> options = PrepareSettings(validation_rate=0.25)
        >>> built = prepare_lengths(read_lines, options, [12, 24], "tiny/tokenizer", "tiny/lengths")
        >>> {directory: manifest.splits["train"].rows for directory, (manifest, _) in built.items()}
        {'tiny/lengths/12': 28, 'tiny/lengths/24': 14}
    """
    each = options_of_lengths(options, lengths)
    if len(each) == 1:
        return {directory: prepare(reading, each[0], tokenizer_directory, directory, **running)}
    if has_manifest(directory):
        raise InputError(
            f"datasets of several lengths go into folders of {directory}, which holds a dataset itself; pass another"
            " --output"
        )
    directories = {join(directory, str(one.sequence_length)): one for one in each}
    results = prepare_datasets(reading, directories, tokenizer_directory, directory, **running)
    return dict(zip(directories, results, strict=True))


def prepare_datasets(
    reading: ReadSettings,
    directories: Mapping[str, PrepareSettings],
    tokenizer_directory: str,
    side_directory: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
    corpus: CorpusSettings = AS_READ,
    only_shown: bool = False,
) -> list[tuple[Manifest, bool]]:
    """`prepare` for several datasets of one pass; those that are finished are left as they are.

    only_shown: the runner shows the job and runs nothing, so nothing is written to the output either.
    """
    check_corpus(corpus)
    skipped = Skipped()
    inputs = find_sources(reading, skipped, [side_directory, *directories])
    states = states_of(files_read(inputs, corpus))
    if skipped.number and show_progress:
        sys.stderr.write(f"{skipped.line()}\n")
    tokenizer = load_tokenizer(tokenizer_directory)
    described = describe_tokenizer(tokenizer)
    beam_options = runner_options(runner, num_workers, beam_arguments)
    targets = []
    for directory, options in directories.items():
        check_pairs(options, described)
        build = describe_build(inputs, reading, corpus, options, described, runner)
        build = dataclasses.replace(build, states=states, num_skipped=skipped.number)
        targets.append(Target(directory, options, build))
    selection = select_files(inputs, reading, corpus, targets[0].options)
    running = Running(runner, beam_options, overwrite, show_progress, only_shown)
    return build_datasets(selection, targets, tokenizer_directory, tokenizer, side_directory, running)


def check_pairs(options: PrepareSettings, tokenizer: TokenizerInfo) -> None:
    if options.pairs != "none" and "sep_token" not in tokenizer.special_token_ids:
        raise InputError(
            f"sentence pairs are for the families that learned from them (BERT, ALBERT), got {tokenizer.class_name};"
            " leave --pairs out"
        )
