"""Describing a dataset: its counts, its histogram and decoded rows, for people and for programs."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
    """Lines that say what a dataset holds: its splits, what became of the documents, how long they are.

    Args:
        manifest: of the dataset.
        directory: where it is, for the first line.

    Returns:
        The lines, sizes in MB.

    Example:

        >>> from clozekit.pipelines.dataset.describe import describe_manifest
        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> for line in describe_manifest(read_manifest("tiny/dataset"), "tiny/dataset")[2:4]:
        ...     print(line)
        tokenizer BertTokenizer, 16 pieces
        rows      up to 16 tokens
    """
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


def answer_of(manifest: Manifest, directory: str) -> dict[str, Any]:
    """What the dataset in `directory` holds, as a program reads it."""
    return {
        "dataset": directory,
        "dataset_sha256": manifest.dataset_sha256,
        "sequence_length": manifest.sequence_length,
        "tokenizer": {
            "class_name": manifest.tokenizer.class_name,
            "vocabulary_size": manifest.tokenizer.vocabulary_size,
            "sha256": manifest.tokenizer.sha256,
        },
        "splits": {
            name: {
                "shards": len(split.shards),
                "rows": split.rows,
                "pieces": split.pieces,
                "tokens": split.tokens,
                "fill_rate": manifest.fill_rate(name),
                "num_bytes": sum(shard.num_bytes for shard in split.shards),
            }
            for name, split in manifest.splits.items()
        },
        "counts": dict(manifest.counts),
    }


@dataclass(frozen=True)
class DecodedRow:
    """A row as text: its number in its split, its tokens, the text of each of its documents."""

    row_id: int
    num_tokens: int
    texts: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        documents = f"{len(self.texts)} document{'s' if len(self.texts) > 1 else ''}"
        yield f"row {self.row_id}: {self.num_tokens} tokens, {documents}"
        for text in self.texts:
            # A document is one line here; byte-level BPE keeps the breaks of its text.
            yield "  | " + text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")


def sample_rows(manifest: Manifest, directory: str, tokenizer: Tokenizer, num_rows: int) -> Iterator[DecodedRow]:
    """The first rows of the train split (of validation when there is none), decoded.

    Args:
        manifest, directory: the dataset and where it is, a path or a URL.
        tokenizer: the one that made it.
        num_rows: the most rows.

    Returns:
        The rows, as they are read.

    Raises:
        InputError: when the tokenizer is not the dataset's, or a shard is missing or damaged.

    Example:

        >>> from clozekit.pipelines.dataset.describe import sample_rows
        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> next(sample_rows(read_manifest("tiny/dataset"), "tiny/dataset", tokenizer, num_rows=1)).texts
        ('[CLS] the brown dog jumped over the lazy fox . [SEP]',)
    """
    if tokenizer.sha256() != manifest.tokenizer.sha256:
        raise InputError(
            f"rows are decoded with the tokenizer that made them (sha256 {manifest.tokenizer.sha256[:12]}), got one with"
            f" {tokenizer.sha256()[:12]}; pass the right --tokenizer"
        )
    check_described(manifest, tokenizer, directory)
    for row in rows_of(manifest, directory, num_rows):
        ends = list(itertools.accumulate(row[DOCUMENT_LENGTHS]))
        ids = [row[TOKEN_IDS][start:end] for start, end in zip([0, *ends], ends, strict=False)]
        yield DecodedRow(row[ROW_ID][0], len(row[TOKEN_IDS]), tuple(map(tokenizer.decode, ids)))


def rows_of(manifest: Manifest, directory: str, num_rows: int) -> Iterator[dict[str, list[int]]]:
    """The first rows of the train split (of validation when there is none), as plain numbers.

    Args:
        manifest, directory: the dataset and where it is, a path or a URL.
        num_rows: the most rows.

    Returns:
        For each row a dict of lists: token_ids, document_lengths (tokens of each document), row_id and, of sentence pairs,
        segment_lengths and pair_labels.

    Raises:
        InputError: for a shard that is missing or damaged.

    Example:

        >>> from clozekit.pipelines.dataset.describe import rows_of
        >>> from clozekit.pipelines.dataset.manifest import read_manifest
        >>> next(rows_of(read_manifest("tiny/dataset"), "tiny/dataset", num_rows=1))
        {'token_ids': [2, 6, 8, 14, 10, 11, 6, 13, 9, 5, 3], 'document_lengths': [11], 'row_id': [0]}
    """
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
