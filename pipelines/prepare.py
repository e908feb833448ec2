"""Preparing a dataset: the graph from files to shards and manifest. Wiring only; each stage stands in its own file."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton

from clozekit.pipelines.blocks import concatenate, from_bytes, list_parts, to_bytes
from clozekit.pipelines.clean import check_corpus
from clozekit.pipelines.commit import BuildInfo, CommitDataset, length_histogram
from clozekit.pipelines.corpus_options import AS_READ, CorpusOptions
from clozekit.pipelines.dead_letters import DeadLetter, check_bad_rate
from clozekit.pipelines.decontaminate import evaluation_reading
from clozekit.pipelines.encode_documents import ENCODE_COUNTS, EncodeDocuments
from clozekit.pipelines.files import InputFile, check_writable, join, list_names, remove
from clozekit.pipelines.manifest import Manifest, TokenizerInfo, has_manifest, read_manifest
from clozekit.pipelines.merge_counts import MergeCounts
from clozekit.pipelines.options import PrepareOptions, ReadOptions
from clozekit.pipelines.pack import pack_group
from clozekit.pipelines.plan import GroupRows, ShardPlan, cut_rows, group_of_keys, num_groups, plan_shards
from clozekit.pipelines.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.read import find_sources, split_files
from clozekit.pipelines.records import SPLITS
from clozekit.pipelines.runners import LOCAL_RUNNER, failures_in_one_line, runner_options
from clozekit.pipelines.select_documents import SelectDocuments, num_parts
from clozekit.pipelines.stage import SIDE_FOLDERS, WriteSideLines
from clozekit.pipelines.write_shards import PARTS_FOLDER, WriteShard
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

# Raise it when the same settings would give other bytes: an unfinished build of the old code is then not continued.
BUILD_VERSION = 1
GROUP_ROWS = "group_rows"
MAX_BAD_EXAMPLES = 1
_OUR_FILES = re.compile(rf"({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}-[0-9a-f]{{8}}\.tfrecord(\..*\.tmp)?")


class AssignGroups(beam.DoFn):
    """(split, block of pieces) -> ((split, group), block), once the counts tell how many groups there are."""

    def __init__(self, group_size: int) -> None:
        self._group_size = group_size

    def process(self, element: tuple[str, bytes], counts: Mapping[str, int]) -> Iterable[tuple[tuple[str, int], bytes]]:
        split, block = element
        pieces = from_bytes(block)
        groups = group_of_keys(pieces.column("key").to_numpy(), num_groups(counts, split, self._group_size))
        for group in sorted(set(groups.tolist())):
            yield (split, group), to_bytes(pieces.filter(pa.array(groups == group)))


class PackGroup(beam.DoFn):
    """((split, group), blocks of pieces) -> ((split, group), block of rows), and GroupRows."""

    def __init__(self, sequence_length: int, progress: Progress | None) -> None:
        self._sequence_length = sequence_length
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "packed")

    def process(self, element: tuple[tuple[str, int], Iterable[bytes]]) -> Iterable[Any]:
        (split, group), blocks = element
        rows = pack_group(concatenate(list(blocks)), self._sequence_length)
        tokens = list_parts(rows.column("token_ids"))[0]
        lengths = list_parts(rows.column("document_lengths"))[0]
        self._reporter.add(rows.num_rows)
        histogram = length_histogram(lengths, self._sequence_length)
        packed = GroupRows(split, group, rows.num_rows, len(tokens), len(lengths), histogram)
        yield beam.pvalue.TaggedOutput(GROUP_ROWS, packed)
        yield (split, group), to_bytes(rows)


class AssignShards(beam.DoFn):
    """((split, group), block of rows) -> ((split, shard, num_shards), (first row, block)), by the shard plan."""

    def process(
        self, element: tuple[tuple[str, int], bytes], plans: Mapping[str, ShardPlan]
    ) -> Iterable[tuple[tuple[str, int, int], tuple[int, bytes]]]:
        (split, group), block = element
        plan = plans[split]
        rows = from_bytes(block)
        start = plan.first_row_of_group[group]
        for shard, first, end in cut_rows(start, rows.num_rows, plan.shard_bounds):
            yield (split, shard, plan.num_shards), (first, to_bytes(rows.slice(first - start, end - first)))


def check_counts(counts: Mapping[str, int], examples: Sequence[DeadLetter], max_bad_rate: float) -> Mapping[str, int]:
    check_bad_rate(counts, examples, max_bad_rate)
    return counts


def build_graph(
    root: beam.Pipeline,
    inputs: Sequence[InputFile],
    reading: ReadOptions,
    corpus: CorpusOptions,
    options: PrepareOptions,
    tokenizer_directory: str,
    directory: str,
    build: BuildInfo,
    progress: Progress | None,
) -> None:
    """Adds the whole graph to `root`. Nothing in it depends on arrival order or on how elements were batched."""
    items = split_files(inputs, reading)
    selected = root | "SelectDocuments" >> SelectDocuments(
        items, reading, corpus, options.seed, options.validation_rate, progress
    )
    encoded = selected.documents | "Encode" >> beam.ParDo(
        EncodeDocuments(tokenizer_directory, options, progress)
    ).with_outputs(ENCODE_COUNTS, main="pieces")
    side_files = selected.side_lines | "WriteSideLines" >> WriteSideLines(directory, num_parts(items))
    examples = selected.dead_letters | "BadExamples" >> beam.combiners.Top.Smallest(MAX_BAD_EXAMPLES)
    counts = (
        (selected.counts, encoded[ENCODE_COUNTS])
        | "AllCounts" >> beam.Flatten()
        | "SumCounts" >> beam.CombineGlobally(MergeCounts())
        | "CheckCounts" >> beam.Map(check_counts, AsSingleton(examples), reading.max_bad_rate)
    )
    packed = (
        encoded.pieces
        | "AssignGroups" >> beam.ParDo(AssignGroups(options.group_size), AsSingleton(counts))
        | "GroupPieces" >> beam.GroupByKey()
        | "Pack" >> beam.ParDo(PackGroup(options.sequence_length, progress)).with_outputs(GROUP_ROWS, main="rows")
    )
    groups = packed[GROUP_ROWS]
    plans = (
        root
        | "PlanOnce" >> beam.Create([None])
        | "PlanShards" >> beam.Map(lambda _, packed: plan_shards(packed, options), AsList(groups))
    )
    shards = (
        packed.rows
        | "AssignShards" >> beam.ParDo(AssignShards(), AsSingleton(plans))
        | "GroupRows" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(WriteShard(directory, build.build_id, progress))
    )
    _ = (
        root
        | "CommitOnce" >> beam.Create([None])
        | "Commit"
        >> beam.ParDo(
            CommitDataset(directory, tokenizer_directory, build),
            AsSingleton(counts),
            AsList(groups),
            AsSingleton(plans),
            AsList(shards),
            AsList(side_files),
        )
    )


def describe_tokenizer(tokenizer: Tokenizer) -> TokenizerInfo:
    special = {role: tokenizer.token_to_id(piece) for role, piece in tokenizer.special_token_names.items()}
    return TokenizerInfo(type(tokenizer).__name__, tokenizer.sha256(), tokenizer.vocabulary_size(), special)


def describe_build(
    inputs: Sequence[InputFile],
    reading: ReadOptions,
    corpus: CorpusOptions,
    options: PrepareOptions,
    tokenizer: TokenizerInfo,
    runner: str,
) -> BuildInfo:
    """The build and its id: two builds with one id give the same bytes, so one may finish what the other began."""
    # Neither how the inputs were spelled nor how many bad records are bearable changes the bytes.
    read = dataclasses.asdict(reading)
    for name in ("inputs", "max_bad_rate"):
        del read[name]
    read["sources"] = [{"name": source.name, "weight": source.weight} for source in reading.sources]
    settings = {"read": read, "corpus": corpus.to_dict(), "prepare": options.to_dict()}
    if corpus.decontaminate.inputs:
        files = find_sources(evaluation_reading(corpus.decontaminate))
        settings["corpus"]["decontaminate"]["inputs"] = [dataclasses.asdict(file) for file in files]
    described_inputs = tuple(dataclasses.asdict(file) for file in inputs)
    decides = [BUILD_VERSION, settings, described_inputs, tokenizer.sha256]
    build_id = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return BuildInfo(build_id, options.sequence_length, settings, tokenizer, described_inputs, runner)


def prepare(
    reading: ReadOptions,
    options: PrepareOptions,
    tokenizer_directory: str,
    directory: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
    corpus: CorpusOptions = AS_READ,
) -> tuple[Manifest, bool]:
    """Builds the dataset in `directory`; returns its manifest and whether anything had to be done.

    A finished dataset of the same build is left as it is; a different one is refused unless `overwrite`. Raises
    InputError for inputs, a tokenizer or options that break a rule.
    """
    check_corpus(corpus)
    inputs = find_sources(reading)
    tokenizer = describe_tokenizer(load_tokenizer(tokenizer_directory))
    build = describe_build(inputs, reading, corpus, options, tokenizer, runner)
    beam_options = runner_options(runner, num_workers, beam_arguments)
    if has_manifest(directory):
        manifest = read_manifest(directory)
        if manifest.build_id == build.build_id and not overwrite:
            remove_leftovers(directory, manifest)
            return manifest, False
        if not overwrite:
            raise InputError(
                f"{directory} holds a dataset of other inputs or settings ({describe_difference(manifest, build)});"
                " pass --overwrite to replace it, or another --output"
            )
        if manifest.build_id == build.build_id:
            # Asked to do it again: nothing of the finished build is trusted.
            remove(join(directory, PARTS_FOLDER))
    check_writable(directory)
    for folder in SIDE_FOLDERS:
        remove(join(directory, folder))
    # A dataset that is there stays whole until the new manifest takes the place of the old one.
    stages = {"read": "B", "tokenized": " tokens", "packed": " rows", "written": " rows"}
    with (
        local_progress(show_progress and runner == LOCAL_RUNNER, inputs, stages) as progress,
        failures_in_one_line(),
        beam.Pipeline(options=beam_options) as root,
    ):
        build_graph(root, inputs, reading, corpus, options, tokenizer_directory, directory, build, progress)
    manifest = read_manifest(directory)
    remove_leftovers(directory, manifest)
    return manifest, True


def describe_difference(manifest: Manifest, build: BuildInfo) -> str:
    """Which settings of a build are not those of the dataset that is there."""
    differing = []
    for group, settings in build.settings.items():
        before = manifest.settings.get(group, {})
        differing += [
            f"{name} was {before.get(name)!r}, is {value!r}"
            for name, value in settings.items()
            if before.get(name) != value
        ]
    if list(manifest.inputs) != list(build.inputs):
        differing.append("the input files changed")
    if manifest.tokenizer.sha256 != build.tokenizer.sha256:
        differing.append("another tokenizer")
    return ", ".join(differing) or "another version of Clozekit"


def remove_leftovers(directory: str, manifest: Manifest) -> None:
    """Removes the part files and the shards that earlier builds left and the manifest does not name."""
    wanted = {shard.name for split in manifest.splits.values() for shard in split.shards}
    for name in list_names(directory):
        if _OUR_FILES.fullmatch(name) and name not in wanted:
            remove(join(directory, name))
    remove(join(directory, PARTS_FOLDER))
