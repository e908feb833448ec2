"""Exporting: the shards of a dataset to another format, all of them or nothing."""

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa

from clozekit.pipelines.dataset.manifest import Manifest, ShardInfo, read_manifest
from clozekit.pipelines.dataset.manifest_schema import longest_record
from clozekit.pipelines.dataset.row_rules import checked_blocks
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.dataset.tokenizer_files import check_tokenizer
from clozekit.pipelines.export_formats import FORMATS, describe_folder, exported_name, is_exported
from clozekit.pipelines.running.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.running.runners import LOCAL_RUNNER, failures_in_one_line, open_pipeline, runner_options
from clozekit.pipelines.settings.choices import check_choice
from clozekit.pipelines.settings.export_settings import EXPORT_FORMATS
from clozekit.pipelines.storage.files import InputFile, file_size, is_local, join, read_bytes
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system, write_bytes_whole
from clozekit.tokenizers.storage.owned_files import OWNED_FILE, Owned, list_files, read_owned, remove_files, write_owned
from clozekit.tokenizers.storage.replaced_folders import check_replaceable, replaced_folder

_MADE_BY, _WHAT, _CHOOSE = "export", "an export", "pass another --output"


@dataclass(frozen=True)
class ShardTask:
    """One shard to export: where it lies, what the manifest says of it, where it goes."""

    source: str
    info: ShardInfo
    target: str
    to: str
    # The manifest without its lists of files.
    rules: Manifest


class ExportShard(beam.DoFn):
    """ShardTask -> number of its rows, its file written whole. Raises InputError for a damaged shard."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "exported")

    def process(self, task: ShardTask) -> Iterable[int]:
        # Of a device or a pipe, which may never end, there is none.
        size = file_size(task.source)
        if size is None:
            raise InputError(
                f"every shard of the manifest must be there, {task.source} is missing; copy the dataset again"
            )
        content = read_bytes(task.source) if size == task.info.num_bytes else b""
        if hashlib.sha256(content).hexdigest() != task.info.sha256:
            raise InputError(
                f"a shard must be what the manifest says, {task.source} is damaged; copy it again (`clozekit verify`"
                " finds all that are)"
            )
        convert = FORMATS[task.to].convert
        if convert is not None:
            longest = longest_record(task.rules.sequence_length)
            records = read_records(io.BytesIO(content), task.source, longest)
            with _memory_of_the_system():
                content = convert(checked_blocks(records, task.info.first_row, task.rules, task.source), task.rules)
        write_bytes_whole(task.target, content)
        self._reporter.add(task.info.num_bytes)
        yield task.info.rows


@contextmanager
def _memory_of_the_system() -> Iterator[None]:
    """Arrow takes its memory from the C library meanwhile: what its own allocator has freed, it gives back to the system and
    gets anew page by page, a third of the CPU time of an export to Parquet (measured)."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def plan_export(manifest: Manifest, source: str, target: str, to: str) -> list[ShardTask]:
    rules = dataclasses.replace(manifest, splits={}, inputs=())
    return [
        ShardTask(
            join(source, shard.name),
            shard,
            join(target, exported_name(to, split, index, len(info.shards))),
            to,
            rules,
        )
        for split, info in manifest.splits.items()
        for index, shard in enumerate(info.shards)
    ]


def export_dataset(
    directory: str,
    target: str,
    to: str,
    runner: str = LOCAL_RUNNER,
    num_workers: int = 1,
    beam_arguments: Sequence[str] = (),
    overwrite: bool = False,
    show_progress: bool = False,
) -> Manifest:
    """Exports a dataset to a folder, in a format that others read.

    On a local disk the folder appears when it is complete; in an object store, which can't rename, the files that
    describe it are written last and what a failed export wrote is removed.

    Args:
        directory: the dataset, a path or a URL.
        target: the folder, a path or a URL.
        to: "padded", "parquet" or "tfds".
        overwrite: whether an export that is there is replaced.
        runner, num_workers, beam_arguments, show_progress: see `prepare`.

    Returns:
        The manifest of the dataset.

    Raises:
        InputError: when `target` holds an export and `overwrite` is not set, or anything else, or a shard is missing or
            damaged.

    Example:

        >>> from clozekit.pipelines.export import export_dataset
        >>> _ = export_dataset("tiny/dataset", "tiny/parquet", "parquet")
        >>> import pyarrow.parquet
        >>> table = pyarrow.parquet.read_table("tiny/parquet/train-00000-of-00001.parquet")
        >>> table.column_names, table.num_rows
        (['row_id', 'token_ids', 'document_lengths'], 28)
    """
    check_choice("the format (--to)", to, EXPORT_FORMATS)
    manifest = read_manifest(directory)
    check_tokenizer(manifest, directory)
    options = runner_options(runner, num_workers, beam_arguments)
    check_replaceable(_MADE_BY, _WHAT, target, _CHOOSE)
    if not overwrite and list_files(target):
        raise InputError(f"an export needs a folder of its own, {target} holds one; pass --overwrite to replace it")
    with _written_whole(target, planned_names(manifest, to)) as written:
        tasks = plan_export(manifest, directory, written, to)
        files = [InputFile(task.source, task.info.num_bytes, "") for task in tasks]
        with (
            local_progress(show_progress and runner == LOCAL_RUNNER, files, {"exported": "B"}) as progress,
            failures_in_one_line(),
            open_pipeline(options) as root,
        ):
            _ = (
                root
                | "Shards" >> beam.Create(tasks)
                | "Spread" >> beam.Reshuffle()
                | "Export" >> beam.ParDo(ExportShard(progress))
            )
        for name, content in describe_folder(to, manifest).items():
            write_bytes_whole(join(written, name), content)
    return manifest


def planned_names(manifest: Manifest, to: str) -> frozenset[str]:
    """Names of all files of an export."""
    shards = (
        exported_name(to, split, index, len(info.shards))
        for split, info in manifest.splits.items()
        for index in range(len(info.shards))
    )
    return frozenset([*shards, *describe_folder(to, manifest)])


@contextmanager
def _written_whole(target: str, names: frozenset[str]) -> Iterator[str]:
    """Where the files of an export are written: a new folder that takes the place of `target`, or a place in a store."""
    filesystem, path = open_file_system(target)
    if is_local(filesystem):
        with replaced_folder(Path(path), _MADE_BY, _WHAT, _CHOOSE, is_exported) as folder:
            yield str(folder)
        return
    before = read_owned(target) or Owned(_MADE_BY)
    write_owned(target, Owned(_MADE_BY, before.names | names))
    # What describes an export goes first: whoever reads meanwhile finds none.
    describing = {name for name in before.names if name.endswith(".json")}
    for gone in (describing, before.names - describing):
        remove_files(target, gone)
    try:
        yield target
    except BaseException:
        remove_files(target, [*names, OWNED_FILE])
        raise
    write_owned(target, Owned(_MADE_BY, names))
