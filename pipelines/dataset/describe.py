"""Describing a dataset: its counts, its histogram and decoded rows, as text."""

from collections.abc import Iterator

from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo
from clozekit.pipelines.dataset.manifest_schema import check_described, longest_record
from clozekit.pipelines.dataset.records import DOCUMENT_LENGTHS, ROW_ID, TOKEN_IDS
from clozekit.pipelines.dataset.row_rules import checked_rows
from clozekit.pipelines.dataset.tfrecord import read_records
from clozekit.pipelines.storage.files import join
from clozekit.pipelines.text_files.open_input import open_input
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.tokenizer import Tokenizer

_BAR_WIDTH = 40
_HISTOGRAM_LINES = 16


def describe_manifest(manifest: Manifest, directory: str) -> list[str]:
    """Lines that say what the dataset in `directory` holds."""
    lines = [
        f"dataset   {directory}",
        f"sha256    {manifest.dataset_sha256}",
        f"tokenizer {manifest.tokenizer.class_name}, {manifest.tokenizer.vocabulary_size:,} pieces",
        f"rows      up to {manifest.sequence_length} tokens",
        "",
        f"{'split':12}{'shards':>8}{'rows':>12}{'pieces':>12}{'tokens':>15}{'fill rate':>11}{'size':>11}",
    ]
    for name, split in manifest.splits.items():
        size = sum(shard.num_bytes for shard in split.shards) / 1e6
        lines.append(
            f"{name:12}{len(split.shards):>8,}{split.rows:>12,}{split.pieces:>12,}{split.tokens:>15,}"
            f"{manifest.fill_rate(name):>11.4f}{size:>8.1f} MB"
        )
    lines += ["", "documents"]
    counts = {name: number for name, number in manifest.counts.items() if number and not name.startswith("pieces_")}
    width = max(24, max(map(len, counts), default=0) + 2)
    lines += [f"  {name:{width}}{number:>12,}" for name, number in counts.items()]
    for name, split in manifest.splits.items():
        lines += [
            "",
            f"{name}: pieces (documents, or parts of long ones) by their length in tokens",
            *histogram_lines(split),
        ]
    return lines


def histogram_lines(split: SplitInfo) -> list[str]:
    """The length histogram in at most 16 lines, a bar each."""
    step = -(-len(split.length_histogram) // _HISTOGRAM_LINES)
    sums = [sum(split.length_histogram[start : start + step]) for start in range(0, len(split.length_histogram), step)]
    width, most = split.histogram_bin_width * step, max(sums)
    return [
        f"  {index * width + 1:>5} - {(index + 1) * width:<5}{number:>10,}  {'█' * round(_BAR_WIDTH * number / most)}"
        for index, number in enumerate(sums)
    ]


def sample_rows(manifest: Manifest, directory: str, tokenizer: Tokenizer, num_rows: int) -> Iterator[str]:
    """The first rows of the train split (of validation when there is none), decoded, a line for each document of a row.

    Raises InputError when the tokenizer is not the dataset's, or a shard is missing or damaged.
    """
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(
            f"rows are decoded with the tokenizer that made them (sha256 {manifest.tokenizer.sha256[:12]}), got one with"
            f" {tokenizer.sha256()[:12]}; pass the right --tokenizer"
        )
    check_described(manifest, tokenizer, directory)
    for row in rows_of(manifest, directory, num_rows):
        num_documents = len(row[DOCUMENT_LENGTHS])
        documents = f"{num_documents} document{'s' if num_documents > 1 else ''}"
        yield f"row {row[ROW_ID][0]}: {len(row[TOKEN_IDS])} tokens, {documents}"
        start = 0
        for length in row[DOCUMENT_LENGTHS]:
            text = tokenizer.decode(row[TOKEN_IDS][start : start + length])
            # A document is one line here; byte-level BPE keeps the breaks of its text.
            yield "  | " + text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
            start += length


def rows_of(manifest: Manifest, directory: str, num_rows: int) -> Iterator[dict[str, list[int]]]:
    """The first rows of the train split (of validation when there is none). Raises InputError for a missing shard."""
    split = manifest.splits.get("train") or next(iter(manifest.splits.values()))
    left, longest = num_rows, longest_record(manifest.sequence_length)
    for shard in split.shards:
        if not left:
            return
        path = join(directory, shard.name)
        try:
            with open_input(path) as stream:
                records = [record for record, _ in zip(read_records(stream, path, longest), range(left), strict=False)]
        except FileNotFoundError as error:
            raise InputError(
                f"every shard of the manifest must be there, {path} is missing; copy the dataset again"
            ) from error
        left -= len(records)
        yield from checked_rows(records, shard.first_row, manifest, path).to_pylist()
