"""Making a fragment: a pane and all that came before it, to shards, side files, known hashes and the fragment itself.

A function of its arguments and of the files that the fragment before names, to the last byte: whoever makes it again, after
a kill or beside another committer, makes the same files under the same names.
"""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clozekit.pipelines.dataset.chain import (
    DATA_FOLDER,
    SIDE_FOLDER,
    FileInfo,
    Fragment,
    Genesis,
    parent_sha256,
    rows_until,
)
from clozekit.pipelines.dataset.chain_schema import KNOWN_KINDS
from clozekit.pipelines.dataset.list_columns import list_column, list_parts
from clozekit.pipelines.dataset.manifest import SplitInfo
from clozekit.pipelines.dataset.manifest_schema import histogram_bin_width
from clozekit.pipelines.dataset.stream_limits import MAX_TIME
from clozekit.pipelines.rows.accounts import check_account, check_nothing_lost, length_histogram
from clozekit.pipelines.rows.pack import pack_group
from clozekit.pipelines.rows.plan import GroupRows, cut_rows, group_of_keys, num_groups, plan_shards
from clozekit.pipelines.rows.split import TRAIN, VALIDATION
from clozekit.pipelines.rows.write_shards import shard_content
from clozekit.pipelines.running.documents import hash64
from clozekit.pipelines.running.stage import CONTAMINATED, DUPLICATES
from clozekit.pipelines.settings.prepare_settings import PrepareSettings
from clozekit.pipelines.streaming.choose_deliveries import (
    DUPLICATE,
    LATE,
    REDELIVERED,
    Choice,
    choose_documents,
    hashes_of,
    is_kept,
)
from clozekit.pipelines.streaming.known_hashes import KnownHashes, TableCache, finished_hashes, hash_table
from clozekit.pipelines.streaming.pane import KEPT, Pane

Write = Callable[[str, bytes], None]
LATE_FOLDER = "late"


def make_fragment(
    directory: str,
    genesis: Genesis,
    options: PrepareSettings,
    head: Fragment | None,
    pane: Pane,
    frozen: FileInfo,
    write: Write,
    tables: TableCache | None = None,
) -> Fragment:
    """The fragment that follows `head` (None: the first) when `pane`, which stands in `frozen`, is committed.

    directory: of the stream, where known hashes are read; options: what genesis.settings["prepare"] says; write: is given the
    name and the content of each file that the fragment names, but for the pane.

    Raises RuntimeError when documents or rows were lost or doubled on the way.
    """
    taken = take_pane(directory, genesis, head, pane, write, tables)
    choice = taken.choice
    counts = _count(pane.documents, choice)
    splits = {}
    for split, pieces in pieces_of_splits(pane.documents, choice, options).items():
        counts[f"pieces_{split}"] = pieces.num_rows
        if pieces.num_rows:
            splits[split] = write_rows(split, pieces, counts, options, write)
    check_account(counts)
    return Fragment(
        number=0 if head is None else head.number + 1,
        parent_sha256=parent_sha256(genesis, head),
        window_start=pane.head.window_start,
        window_end=pane.head.window_end,
        timing=pane.head.timing,
        frozen=frozen,
        splits=splits,
        rows_before=rows_until(head),
        counts=dict(sorted(counts.items())),
        known=taken.known,
        side={
            folder: _write_lines(folder, lines, write)
            for folder, lines in sorted(_side_lines(pane.documents, choice).items())
        },
        watermark=taken.watermark,
        position=pane.head.position,
    )


class Taken(NamedTuple):
    """What a stream makes of a pane before there are rows: what it takes, what it knows afterwards, and the watermark then."""

    choice: Choice
    known: dict[str, tuple[FileInfo, ...]]
    watermark: int


def take_pane(
    directory: str, genesis: Genesis, head: Fragment | None, pane: Pane, write: Write, tables: TableCache | None = None
) -> Taken:
    """What is taken of a pane behind `head`; write: is given the files of hashes that are new."""
    before = None if head is None else head.watermark
    watermark = _watermark(before, pane)
    oldest = watermark - genesis.time_to_live_seconds
    is_late = before is not None and pane.head.window_end + genesis.lateness_seconds < before
    files = {kind: () for kind in KNOWN_KINDS} if head is None else head.known
    known = {kind: KnownHashes(directory, kind, files[kind], tables) for kind in KNOWN_KINDS}
    drops = genesis.settings["corpus"]["deduplicate"]["kind"] != "none"
    choice = choose_documents(pane.documents, known, oldest, is_late, drops)
    added = _known_after(pane, choice)
    after = {
        kind: known[kind].with_added(added[kind], oldest, lambda file, content: write(file.name, content))
        for kind in KNOWN_KINDS
    }
    return Taken(choice, after, watermark)


def _watermark(before: int | None, pane: Pane) -> int:
    """It never goes back; a pane of which nobody knows one leaves it where it is."""
    if before is None:
        return pane.head.window_start if pane.head.watermark is None else pane.head.watermark
    return before if pane.head.watermark is None else max(before, pane.head.watermark)


def _count(documents: pa.Table, choice: Choice) -> dict[str, int]:
    counts = Counter({"documents_in": int(choice.is_new.sum()), REDELIVERED: int((~choice.is_new).sum())})
    for row in np.flatnonzero(choice.is_new).tolist():
        outcome = choice.outcomes[row]
        if outcome == KEPT:
            outcome = f"documents_{VALIDATION if choice.validation[row] else TRAIN}"
        counts[outcome] += 1
    reported = _reported(documents, choice)
    if reported.any():
        counts["reported_contaminated"] = int(reported.sum())
    return dict(counts)


def _reported(documents: pa.Table, choice: Choice) -> np.ndarray:
    """Which documents go on though they share words with evaluation texts."""
    is_contaminated = np.array([folder == CONTAMINATED for folder in documents.column("folder").to_pylist()], bool)
    goes_on = documents.column("text").combine_chunks().is_valid().to_numpy(False)
    return is_contaminated & goes_on & choice.is_new & (choice.outcomes != LATE)


def pieces_of_splits(documents: pa.Table, choice: Choice, options: PrepareSettings) -> dict[str, pa.RecordBatch]:
    """The pieces of the kept documents of each split, as `pack_group` takes them."""
    found = {}
    for split, wanted in ((TRAIN, False), (VALIDATION, True)):
        chosen = documents.filter(pa.array(is_kept(choice) & (choice.validation == wanted))).combine_chunks()
        parts = {
            name: chosen.column(name).combine_chunks()
            for name in ("piece_keys", "piece_contents", "piece_lengths", "token_ids", "segment_lengths", "pair_labels")
        }
        lengths, pieces_of = list_parts(parts["piece_lengths"])
        columns = {
            "key": pa.array(list_parts(parts["piece_keys"])[0]),
            "content": pa.array(list_parts(parts["piece_contents"])[0]),
            "token_ids": list_column(list_parts(parts["token_ids"])[0], lengths),
        }
        if options.pairs != "none":
            columns["segment_length"] = pa.array(list_parts(parts["segment_lengths"])[0])
            columns["pair_label"] = pa.array(list_parts(parts["pair_labels"])[0])
            hashes = [hash64(identifier.encode()) for identifier in chosen.column("id").to_pylist()]
            columns["document"] = pa.array(np.repeat(np.array(hashes, np.uint64), pieces_of))
        found[split] = pa.RecordBatch.from_pydict(columns)
    return found


def write_rows(
    split: str, pieces: pa.RecordBatch, counts: Mapping[str, int], options: PrepareSettings, write: Write
) -> SplitInfo:
    """Packs pieces in groups, as `prepare` does, and writes the shards of their rows, which are numbered from 0."""
    groups = group_of_keys(pieces.column("key").to_numpy(), num_groups(counts, split, options.group_size))
    rows: dict[int, pa.RecordBatch] = {}
    packed: list[GroupRows] = []
    for group in np.unique(groups).tolist():
        rows[group] = pack_group(pieces.filter(pa.array(groups == group)), options)
        lengths = list_parts(rows[group].column("document_lengths"))[0]
        tokens = len(list_parts(rows[group].column("token_ids"))[0])
        histogram = length_histogram(lengths, options.sequence_length)
        packed.append(GroupRows(split, group, rows[group].num_rows, tokens, len(lengths), histogram))
    plan = plan_shards(packed, options)[split]
    blocks: dict[int, list[tuple[int, pa.RecordBatch]]] = {shard: [] for shard in range(plan.num_shards)}
    for group, batch in rows.items():
        start = plan.first_row_of_group[group]
        for shard, first, end in cut_rows(start, batch.num_rows, plan.shard_bounds):
            blocks[shard].append((first, batch.slice(first - start, end - first)))
    infos = []
    for shard in range(plan.num_shards):
        content = shard_content(sorted(blocks[shard], key=lambda block: block[0]))
        info = content.named(f"{DATA_FOLDER}/{split}-{content.sha256[:16]}.tfrecord")
        write(info.name, b"".join(content.records))
        infos.append(info)
    check_nothing_lost(split, counts[f"pieces_{split}"], packed, infos)
    histogram_sum = np.sum([group.length_histogram for group in packed], axis=0).tolist()
    return SplitInfo(tuple(infos), tuple(histogram_sum), histogram_bin_width(options.sequence_length))


def _known_after(pane: Pane, choice: Choice) -> dict[str, pa.Table]:
    """What is known besides, after this pane: of each kind a table of hashes."""
    documents = pane.documents
    ids = documents.column("id").to_pylist()
    texts = np.flatnonzero(choice.is_text)
    new = hashes_of(documents, "delivery")[choice.is_new]
    exact = hashes_of(documents.take(pa.array(texts)), "exact") if len(texts) else np.zeros((0, 2), np.uint64)
    return {
        "deliveries": hash_table(new, pane.head.window_end, [None] * len(new)),
        "texts": hash_table(exact, pane.head.window_end, [ids[row] for row in texts.tolist()]),
        # A file may lie there for ever: it is never forgotten.
        "finished": hash_table(finished_hashes(pane.head.finished), MAX_TIME, [None] * len(pane.head.finished)),
    }


def _side_lines(documents: pa.Table, choice: Choice) -> dict[str, list[bytes]]:
    """Folder -> a line for each document that left or is reported, in the order of the pane."""
    lines: dict[str, list[bytes]] = {}
    columns = [documents.column(name).to_pylist() for name in ("folder", "line", "id", "origin")]
    for row, (folder, line, identifier, origin) in enumerate(zip(*columns, strict=True)):
        outcome = choice.outcomes[row]
        if outcome == REDELIVERED:
            continue
        if outcome == LATE:
            lines.setdefault(LATE_FOLDER, []).append(_late_line(documents, row))
            continue
        if outcome == DUPLICATE:
            found = {"id": identifier, "input": origin, "kind": "exact", "kept": choice.kept_ids[row]}
            lines.setdefault(DUPLICATES, []).append(json.dumps(found, ensure_ascii=False).encode() + b"\n")
        if folder is not None:
            lines.setdefault(folder, []).append(line)
    return lines


def _late_line(documents: pa.Table, row: int) -> bytes:
    """All that is known of a document that came too late; one that would not have been kept has its own line inside."""
    found = {name: documents.column(name)[row].as_py() for name in ("id", "origin", "event_time", "outcome", "text")}
    line = documents.column("line")[row].as_py()
    if line is not None:
        found["line"] = json.loads(line)
    return json.dumps(found, ensure_ascii=False).encode() + b"\n"


def _write_lines(folder: str, lines: list[bytes], write: Write) -> FileInfo:
    content = gzip.compress(b"".join(lines), 6, mtime=0)
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{SIDE_FOLDER}/{folder}-{sha256[:16]}.jsonl.gz"
    write(name, content)
    return FileInfo(name, sha256, len(content), len(lines))
