"""Known hashes: what a stream has had, as sorted 128-bit hashes in files that are merged as they grow.

Few files, each at most half as long as the one before it, so a look-up searches a few and every hash is written again only
as often as the whole doubles (O'Neil et al. 1996, the log-structured merge tree). Mapped into memory from a local disk; those
of a store are read once and kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clozekit.pipelines.dataset.chain import KNOWN_FOLDER, FileInfo
from clozekit.pipelines.storage.files import join, read_bytes
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import is_local, open_file_system

# A row a hash, sorted by both halves; time: seconds, by which it is forgotten; id: of the document that had it.
HASHES = pa.schema([("hash_0", pa.uint64()), ("hash_1", pa.uint64()), ("time", pa.int64()), ("id", pa.large_string())])


class Found(NamedTuple):
    """For each hash that was looked up whether it is known, and the id of the document that had it, or None."""

    is_known: np.ndarray
    ids: list[str | None]


class KnownHashes:
    """The hashes of one kind that a fragment names.

    directory: of the stream; files: as the fragment lists them, the oldest and longest first. They are read when they are
    needed. Raises InputError, at a look-up, when one is missing or no longer what it was.
    """

    def __init__(
        self, directory: str, kind: str, files: Sequence[FileInfo], tables: "TableCache | None" = None
    ) -> None:
        self.kind = kind
        self.files = tuple(files)
        self._directory = directory
        self._tables = TableCache() if tables is None else tables

    def look_up(self, hashes: np.ndarray, oldest: int) -> Found:
        """hashes: uint64 (num_hashes, 2); oldest: what was known at an earlier time is forgotten."""
        is_known = np.zeros(len(hashes), bool)
        ids: list[str | None] = [None] * len(hashes)
        for file in self.files:
            table = self._tables.read(self._directory, file)
            for at, place in _places_in(table, hashes):
                if table.column("time")[place].as_py() >= oldest:
                    is_known[at] = True
                    ids[at] = table.column("id")[place].as_py()
        return Found(is_known, ids)

    def with_added(
        self, added: pa.Table, oldest: int, write: Callable[[FileInfo, bytes], None]
    ) -> tuple[FileInfo, ...]:
        """The files with the hashes of a further table, which are written and then listed; files that are not longer than
        twice what comes behind them are merged with it. Nothing older than `oldest` is written again."""
        if not added.num_rows:
            return self.files
        files, waiting = list(self.files), [added]
        while files and files[-1].entries <= 2 * sum(table.num_rows for table in waiting):
            waiting.insert(0, self._tables.read(self._directory, files.pop()))
        file, content = _file_of(self.kind, waiting, oldest)
        write(file, content)
        return (*files, file)


class TableCache:
    """Tables of known hashes that were opened, by their names, which say what they hold."""

    def __init__(self) -> None:
        self._tables: dict[str, pa.Table] = {}

    def read(self, directory: str, file: FileInfo) -> pa.Table:
        if file.name not in self._tables:
            self._tables[file.name] = _read_table(join(directory, file.name), file)
        return self._tables[file.name]

    def add(self, name: str, content: bytes) -> None:
        """Of a file that stands nowhere."""
        self._tables[name] = pa.ipc.open_file(pa.py_buffer(content)).read_all()

    def forget_others(self, names: Sequence[str]) -> None:
        """Closes what is not among the names."""
        self._tables = {name: table for name, table in self._tables.items() if name in names}


def hash_table(hashes: np.ndarray, time: int, ids: Sequence[str | None]) -> pa.Table:
    """A table of HASHES. hashes: uint64 (num_hashes, 2), in any order."""
    columns = [
        pa.array(hashes[:, 0]),
        pa.array(hashes[:, 1]),
        pa.array(np.full(len(hashes), time, np.int64)),
        pa.array(ids, pa.large_string()),
    ]
    return pa.table(columns, schema=HASHES)


def finished_hashes(names: Sequence[str]) -> np.ndarray:
    """128 bits of each name of what a source has finished: uint64 (num_names, 2)."""
    digests = [hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest() for name in names]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).astype(np.uint64)


def _places_in(table: pa.Table, hashes: np.ndarray) -> list[tuple[int, int]]:
    """(index of a hash, row of the table that has it) of those that it has."""
    first, second = (column_values(table, name) for name in ("hash_0", "hash_1"))
    if not len(first):
        return []
    starts = np.searchsorted(first, hashes[:, 0])
    inside = np.flatnonzero(starts < len(first))
    candidates = inside[first[starts[inside]] == hashes[inside, 0]]
    found = []
    for at in candidates.tolist():
        place = int(starts[at])
        # Two hashes that share 64 bits and are not the same stand one after the other.
        while place < len(first) and first[place] == hashes[at, 0]:
            if second[place] == hashes[at, 1]:
                found.append((at, place))
            place += 1
    return found


def column_values(table: pa.Table, name: str) -> np.ndarray:
    """A column without nulls; where it is one chunk, without a copy."""
    chunks = table.column(name).chunks
    return chunks[0].to_numpy() if len(chunks) == 1 else table.column(name).to_numpy()


def _file_of(kind: str, tables: Sequence[pa.Table], oldest: int) -> tuple[FileInfo, bytes]:
    """One file of several tables, the oldest first; of a hash that several have, the last one counts."""
    table = pa.concat_tables(tables)
    table = table.append_column("rank", pa.array(np.arange(table.num_rows)))
    table = table.filter(pc.greater_equal(table.column("time"), oldest))
    ordered = table.sort_by([("hash_0", "ascending"), ("hash_1", "ascending"), ("rank", "descending")]).combine_chunks()
    first, second = (ordered.column(name).to_numpy() for name in ("hash_0", "hash_1"))
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    ordered = ordered.filter(pa.array(is_new)).drop_columns(["rank"]).combine_chunks()
    sink = pa.BufferOutputStream()
    # Not compressed, to be mapped into memory.
    with pa.ipc.new_file(sink, HASHES) as writer:
        writer.write_table(ordered, max_chunksize=max(1, ordered.num_rows))
    content = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return FileInfo(f"{KNOWN_FOLDER}/{kind}-{sha256[:16]}.arrow", sha256, len(content), ordered.num_rows), content


def _read_table(path: str, file: FileInfo) -> pa.Table:
    try:
        filesystem, name = open_file_system(path)
        if is_local(filesystem):
            source = pa.memory_map(name)
            size = source.size()
        else:
            content = read_bytes(path)
            source, size = pa.BufferReader(content), len(content)
        if size != file.num_bytes:
            raise ValueError(f"it has {size:,} bytes, the fragment says {file.num_bytes:,}")
        table = pa.ipc.open_file(source).read_all()
        if not table.schema.equals(HASHES) or table.num_rows != file.entries:
            raise ValueError("it holds something else")
        return table
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(
            f"the known hashes of a stream must be as they were written, {path} is missing or damaged"
            f" ({' '.join(str(error).split()):.120}); `clozekit stream repair` makes them again from the frozen panes"
        ) from error
