"""Exporting: the shards of a dataset to another format, all of them or nothing."""

import hashlib
import io
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from clozekit.pipelines.export_formats import EXPORTED_NAME, FORMATS, convert_shard, describe_folder, exported_name
from clozekit.pipelines.files import InputFile, is_local, join, read_bytes, remove, write_bytes
from clozekit.pipelines.manifest import Manifest, ShardInfo, read_manifest
from clozekit.pipelines.options import check_choice
from clozekit.pipelines.progress import Progress, ProgressReporter, local_progress
from clozekit.pipelines.runners import LOCAL_RUNNER, failures_in_one_line, open_pipeline, runner_options
from clozekit.pipelines.tfrecord import read_records
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import open_file_system


@dataclass(frozen=True)
class ShardTask:
    """One shard to export: where it lies, what the manifest says of it, where it goes."""

    source: str
    info: ShardInfo
    target: str
    to: str
    sequence_length: int
    pad_token_id: int


class ExportShard(beam.DoFn):
    """ShardTask -> number of its rows, its file written whole. Raises InputError for a damaged shard."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def setup(self) -> None:
        self._reporter = ProgressReporter(self._progress, "exported")

    def process(self, task: ShardTask) -> Iterable[int]:
        try:
            content = read_bytes(task.source)
        except FileNotFoundError as error:
            raise InputError(
                f"every shard of the manifest must be there, {task.source} is missing; copy the dataset again"
            ) from error
        if hashlib.sha256(content).hexdigest() != task.info.sha256:
            raise InputError(
                f"a shard must be what the manifest says, {task.source} is damaged; copy it again (`clozekit verify`"
                " finds all that are)"
            )
        if task.to != "tfds":
            records = list(read_records(io.BytesIO(content), task.source))
            content = convert_shard(task.to, records, task.sequence_length, task.pad_token_id)
        write_bytes(task.target, content)
        self._reporter.add(task.info.num_bytes)
        yield task.info.rows


def plan_export(manifest: Manifest, source: str, target: str, to: str) -> list[ShardTask]:
    pad_token_id = manifest.tokenizer.special_token_ids["pad_token"]
    return [
        ShardTask(
            join(source, shard.name),
            shard,
            join(target, exported_name(to, split, index, len(info.shards))),
            to,
            manifest.sequence_length,
            pad_token_id,
        )
        for split, info in manifest.splits.items()
        for index, shard in enumerate(info.shards)
    ]


def _check_free(filesystem: Any, path: str, target: str, overwrite: bool) -> None:
    """Raises InputError unless `target` is empty or, with `overwrite`, holds an export and nothing else."""
    if filesystem.isfile(path):
        raise InputError(f"an export needs a folder of its own, {target} is a file; pass another")
    names = (
        [posixpath.basename(name.rstrip("/")) for name in filesystem.ls(path, detail=False)]
        if filesystem.isdir(path)
        else []
    )
    foreign = [name for name in names if not EXPORTED_NAME.fullmatch(name)]
    if foreign:
        raise InputError(f"an export needs a folder of its own, {target} holds {foreign[0]}; pass another")
    if names and not overwrite:
        raise InputError(f"an export needs a folder of its own, {target} holds one; pass --overwrite to replace it")


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
    """Exports the dataset in `directory` to the folder `target`; returns its manifest.

    On a local disk the folder appears when it is complete; in an object store, which can't rename, the files that
    describe it are written last and what a failed export wrote is removed. Raises InputError when `target` holds
    something and `overwrite` is not set, or a shard is missing or damaged.
    """
    check_choice("the format (--to)", to, FORMATS)
    manifest = read_manifest(directory)
    options = runner_options(runner, num_workers, beam_arguments)
    filesystem, path = open_file_system(target)
    _check_free(filesystem, path, target, overwrite)
    written = f"{path.rstrip('/')}.export.tmp" if is_local(filesystem) else target
    remove(written)
    tasks = plan_export(manifest, directory, written, to)
    files = [InputFile(task.source, task.info.num_bytes, "") for task in tasks]
    try:
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
            write_bytes(join(written, name), content)
    except BaseException:
        remove(written)
        raise
    if written != target:
        remove(path)
        os.replace(written, path)
    return manifest
