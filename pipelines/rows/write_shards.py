"""Writing shards: the rows of one shard, sorted, as one TFRecord file under the name of its content."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import IO

import apache_beam as beam
import pyarrow as pa

from clozekit.pipelines.dataset.list_columns import list_parts
from clozekit.pipelines.dataset.manifest import ShardInfo
from clozekit.pipelines.dataset.manifest_schema import shard_problem
from clozekit.pipelines.dataset.records import DOCUMENT_LENGTHS, TOKEN_IDS, rows_to_records, shard_name
from clozekit.pipelines.dataset.row_limits import MAX_SEQUENCE_LENGTH
from clozekit.pipelines.dataset.tfrecord import check_crc_is_fast, frame_records
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.blocks import from_bytes
from clozekit.pipelines.running.progress import Progress, ProgressReporter
from clozekit.pipelines.storage.files import file_size, join, read_bytes
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.sealed_json import sealed, sha256_of_fields
from clozekit.tokenizers.storage.file_systems import write_bytes_whole, write_whole

PARTS_FOLDER = "_parts"
# Over all else that a part file says.
_OWN_SHA256 = "part_sha256"


def parts_folder(directory: str, build_id: str) -> str:
    return join(directory, PARTS_FOLDER, build_id[:16])


def part_path(directory: str, build_id: str, split: str, index: int) -> str:
    return join(parts_folder(directory, build_id), f"{split}-{index:05d}.json")


def part_to_json(info: ShardInfo) -> bytes:
    return json.dumps(sealed(dataclasses.asdict(info), _OWN_SHA256)).encode()


def read_part(part: str) -> ShardInfo | None:
    """What a part file says, None where there is none, or one that is not what was written: its shard is made again."""
    if file_size(part) is None:
        return None
    try:
        fields = parse_object(read_bytes(part), part)
    except InputError:
        return None
    written = fields.pop(_OWN_SHA256, None)
    if written != sha256_of_fields(fields) or shard_problem(fields, MAX_SEQUENCE_LENGTH) is not None:
        return None
    return ShardInfo(**fields)


def finished_shard(directory: str, part: str) -> ShardInfo | None:
    """The shard that an earlier attempt at the same build finished and left whole, else None."""
    info = read_part(part)
    if info is None:
        return None
    shard = join(directory, info.name)
    if file_size(shard) != info.num_bytes or hashlib.sha256(read_bytes(shard)).hexdigest() != info.sha256:
        return None
    return info


@dataclasses.dataclass(frozen=True)
class ShardContent:
    """The bytes of a shard, and what they hold."""

    records: list[bytes]
    rows: int
    tokens: int
    pieces: int
    sha256: str
    first_row: int

    def named(self, name: str) -> ShardInfo:
        num_bytes = sum(map(len, self.records))
        return ShardInfo(name, self.rows, self.tokens, self.pieces, num_bytes, self.sha256, self.first_row)

    def write(self, stream: IO[bytes]) -> None:
        stream.writelines(self.records)


def shard_content(blocks: Iterable[tuple[int, pa.RecordBatch]]) -> ShardContent:
    """The shard of some rows; blocks: (number of the first row, rows as `pack_group` gives them), at least one, in order."""
    digest = hashlib.sha256()
    framed: list[bytes] = []
    firsts: list[int] = []
    rows = tokens = pieces = 0
    for first_row, batch in blocks:
        columns = {name: batch.column(name) for name in batch.schema.names}
        records = frame_records(
            rows_to_records(columns.pop(TOKEN_IDS), columns.pop(DOCUMENT_LENGTHS), first_row, columns)
        )
        digest.update(records)
        framed.append(records)
        firsts.append(first_row)
        rows += batch.num_rows
        tokens += len(list_parts(batch.column(TOKEN_IDS))[0])
        pieces += len(list_parts(batch.column(DOCUMENT_LENGTHS))[0])
    return ShardContent(framed, rows, tokens, pieces, digest.hexdigest(), firsts[0])


class WriteShard(beam.DoFn):
    """((split, index, num_shards), [(first_row, block of rows)]) -> ShardInfo, written or found finished."""

    def __init__(self, directory: str, build_id: str, store: BlockStore, progress: Progress | None) -> None:
        self._directory = directory
        self._build_id = build_id
        self._store = store
        self._progress = progress

    def setup(self) -> None:
        check_crc_is_fast()
        self._reporter = ProgressReporter(self._progress, "written")

    def process(
        self, element: tuple[tuple[str, int, int], Iterable[tuple[int, bytes]]]
    ) -> Iterable[tuple[str, int, ShardInfo]]:
        (split, index, num_shards), blocks = element
        part = part_path(self._directory, self._build_id, split, index)
        info = finished_shard(self._directory, part)
        if info is None:
            info = self._write(split, index, num_shards, sorted(blocks), part)
        self._reporter.add(info.rows)
        yield split, index, info

    def _write(self, split: str, index: int, num_shards: int, blocks: list[tuple[int, bytes]], part: str) -> ShardInfo:
        content = shard_content((first_row, from_bytes(self._store.take(block))) for first_row, block in blocks)
        # The name holds the hash of the content, so the content is complete before the file has a name.
        info = content.named(shard_name(split, index, num_shards, content.sha256))
        # First the part, which says that the shard is ours; it counts only where the shard is whole.
        write_bytes_whole(part, part_to_json(info))
        write_whole(join(self._directory, info.name), content.write)
        return info
