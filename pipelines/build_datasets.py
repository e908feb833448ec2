"""Building datasets of selected documents: the graph from there to shards and manifest, and the outputs that it fills."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton

from clozekit.pipelines.build_output import BuildOutput, fixed_names, is_report_missing
from clozekit.pipelines.dataset.build_report import write_build_report
from clozekit.pipelines.dataset.manifest import Manifest, has_manifest, read_manifest
from clozekit.pipelines.rows.commit import BuildInfo, files_seen
from clozekit.pipelines.rows.encode_documents import EncodeDocuments, counts_tag, pieces_tag
from clozekit.pipelines.rows.make_dataset import Target, add_dataset
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.dead_letters import DEAD_LETTERS, DeadLetter, check_bad_rate
from clozekit.pipelines.running.merge_counts import MergeCounts
from clozekit.pipelines.running.progress import Progress, local_progress
from clozekit.pipelines.running.runners import LOCAL_RUNNER, failures_in_one_line, open_pipeline
from clozekit.pipelines.running.stage import SIDE_LINES, StoreLines, WriteSideLines
from clozekit.pipelines.storage.files import InputFile
from clozekit.pipelines.storage.locks import lock_directories
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer

MAX_BAD_EXAMPLES = 1


@dataclass(frozen=True)
class Selection:
    """Which documents a build is of.

    select: given where blocks wait and the bars of a local run, the transform from the root of a pipeline to `StageOutputs`.
    paths: of the work items, in the order of their numbers. num_parts: in how many parts what is kept aside is cut.
    max_bad_rate: share of the records that may be bad. inputs: files, for the bar of what is read.
    """

    select: Callable[[BlockStore, Progress | None], beam.PTransform]
    paths: Sequence[str]
    num_parts: int
    max_bad_rate: float
    inputs: Sequence[InputFile]


@dataclass(frozen=True)
class Running:
    """How a build runs, and what it may replace; see `prepare`."""

    runner: str
    beam_options: PipelineOptions
    overwrite: bool = False
    show_progress: bool = False
    only_shown: bool = False


def check_counts(counts: Mapping[str, int], examples: Sequence[DeadLetter], max_bad_rate: float) -> Mapping[str, int]:
    check_bad_rate(counts, examples, max_bad_rate)
    return counts


def build_graph(
    root: beam.Pipeline,
    selection: Selection,
    targets: Sequence[Target],
    tokenizer_directory: str,
    directory: str,
    side_id: str,
    store: BlockStore,
    progress: Progress | None,
) -> None:
    """Adds the whole graph to `root`. Nothing in it depends on arrival order or on how elements were batched.

    targets: the datasets, one for each sequence length, of one seed and validation rate; directory: where what is left
    out of all of them goes, in files that have `side_id` in their names.
    """
    selected = root | "SelectDocuments" >> selection.select(store, progress)
    tags = [tag(target.options.sequence_length) for target in targets for tag in (counts_tag, pieces_tag)]
    encode = EncodeDocuments(
        tokenizer_directory, [target.options for target in targets], store, progress, selection.paths
    )
    encoded = selected.documents | "Encode" >> beam.ParDo(encode).with_outputs(*tags, SIDE_LINES, DEAD_LETTERS)
    stored = encoded[SIDE_LINES] | "StoreEncode" >> beam.ParDo(StoreLines(store))
    side_files = (
        (selected.side_lines, stored)
        | "AllSideLines" >> beam.Flatten()
        | "WriteSideLines" >> WriteSideLines(directory, side_id, selection.num_parts, store)
    )
    examples = (
        (selected.dead_letters, encoded[DEAD_LETTERS])
        | "AllDeadLetters" >> beam.Flatten()
        | "BadExamples" >> beam.combiners.Top.Smallest(MAX_BAD_EXAMPLES)
    )
    for target in targets:
        length = target.options.sequence_length
        counts = (
            (selected.counts, encoded[counts_tag(length)])
            | f"AllCounts{length}" >> beam.Flatten()
            | f"SumCounts{length}" >> beam.CombineGlobally(MergeCounts())
            | f"CheckCounts{length}" >> beam.Map(check_counts, AsSingleton(examples), selection.max_bad_rate)
        )
        add_dataset(root, encoded[pieces_tag(length)], counts, target, tokenizer_directory, side_files, store, progress)


def build_datasets(
    selection: Selection,
    targets: Sequence[Target],
    tokenizer_directory: str,
    tokenizer: Tokenizer,
    side_directory: str,
    running: Running,
) -> list[tuple[Manifest, bool]]:
    """Builds the datasets of one selection in one pass; those that are finished are left as they are.

    side_directory: where what is left out of all of them goes. Gives the manifest of each, and whether it had to be built.
    """
    directories = [target.directory for target in targets]
    side_id = hashlib.sha256("".join(target.build.build_id for target in targets).encode()).hexdigest()[:8]
    with lock_directories([] if running.only_shown else [side_directory, *directories]):
        # What is there now: a commit finds by it whether another build, of another machine, was faster.
        targets = [dataclasses.replace(target, seen=files_seen(target.directory)) for target in targets]
        missing = [target for target in targets if not is_finished(target, running.overwrite)]
        if missing:
            # A dataset that is there stays whole until the new manifest takes the place of the old one.
            output = BuildOutput.begin(side_directory, side_id, missing, fixed_names(tokenizer), running.only_shown)
            stages = {"read": "B", "tokenized": " tokens", "packed": " rows", "written": " rows"}
            shows_bars = running.show_progress and running.runner == LOCAL_RUNNER
            with (
                output.blocks(running.runner) as store,
                local_progress(shows_bars, selection.inputs, stages) as progress,
                output.nothing_left_of_the_lost(),
                failures_in_one_line(),
                open_pipeline(running.beam_options) as root,
            ):
                build_graph(root, selection, missing, tokenizer_directory, side_directory, side_id, store, progress)
            output.end()
        built = {target.directory for target in missing}
        results = []
        for directory in directories:
            manifest = read_manifest(directory)
            if directory in built or is_report_missing(directory):
                write_build_report(directory, manifest, side_directory)
            results.append((manifest, directory in built))
    return results


def is_finished(target: Target, overwrite: bool) -> bool:
    """Whether the dataset is there already. Raises InputError when a different one is."""
    directory = target.directory
    if not has_manifest(directory):
        return False
    manifest = read_manifest(directory)
    if not overwrite and manifest.build_id != target.build.build_id:
        raise InputError(
            f"{directory} holds a dataset of other inputs or settings"
            f" ({describe_difference(manifest, target.build)}); pass --overwrite to replace it, or another --output"
        )
    return not overwrite


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
