"""Panes: documents of one window with all that is made of them, as one Arrow file that is named by its content."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clozekit.pipelines.dataset.chain import FROZEN_FOLDER, FileInfo
from clozekit.pipelines.dataset.chain_schema import TIMINGS
from clozekit.pipelines.dataset.schema_rules import shown
from clozekit.pipelines.dataset.stream_limits import MAX_TIME, MAX_WINDOW
from clozekit.pipelines.storage.files import join, read_bytes
from clozekit.tokenizers.common.errors import InputError

# outcome of a document that becomes rows; of any other it is the name under which it is counted.
KEPT = "kept"
# A row a document that was delivered, whatever became of it; the pieces of a kept one are lists.
DELIVERIES = pa.schema(
    [
        # 128 bits of what was delivered: the same again is a redelivery.
        ("delivery_0", pa.uint64()),
        ("delivery_1", pa.uint64()),
        ("id", pa.large_string()),
        # Where it came from: a file and an offset, a message id, a topic, partition and offset.
        ("origin", pa.large_string()),
        # Milliseconds since 1970.
        ("event_time", pa.int64()),
        ("outcome", pa.large_string()),
        # A line of JSON and the folder that it goes to, of what left or is reported.
        ("folder", pa.large_string()),
        ("line", pa.large_binary()),
        # Clean, of those that are kept.
        ("text", pa.large_string()),
        ("validation", pa.bool_()),
        # 128 bits of the folded text, and 64 of the text: what duplicates are told by.
        ("exact_0", pa.uint64()),
        ("exact_1", pa.uint64()),
        ("content", pa.uint64()),
        ("piece_keys", pa.large_list(pa.uint64())),
        ("piece_contents", pa.large_list(pa.uint64())),
        ("piece_lengths", pa.large_list(pa.int32())),
        ("token_ids", pa.large_list(pa.int32())),
        # Only with sentence pairs.
        ("segment_lengths", pa.large_list(pa.int32())),
        ("pair_labels", pa.large_list(pa.int8())),
    ]
)
_HEAD = b"clozekit_pane"


@dataclass(frozen=True)
class PaneHead:
    """What a pane says of itself.

    window_start, window_end: seconds since 1970. timing: "early", "on_time" or "late". watermark: seconds up to which nothing
    more was expected, or None where nobody knows. position: where the source is when this pane is safe, in its own words.
    finished: what of the source need not be read again then, such as files, in its own words too.
    """

    window_start: int
    window_end: int
    timing: str = "on_time"
    watermark: int | None = None
    position: Any = None
    finished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pane:
    """documents: a table of DELIVERIES."""

    head: PaneHead
    documents: pa.Table


def freeze_pane(pane: Pane) -> tuple[FileInfo, bytes]:
    """The file of a pane: a function of its head and of the set of its documents, in whatever order they arrived."""
    order = [(name, "ascending") for name in ("delivery_0", "delivery_1", "event_time", "origin")]
    table = pane.documents.cast(DELIVERIES).sort_by(order).combine_chunks()
    # One word for each way to say it.
    head = json.dumps(vars(pane.head), sort_keys=True).encode()
    sink = pa.BufferOutputStream()
    schema = DELIVERIES.with_metadata({_HEAD: head})
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table.replace_schema_metadata({_HEAD: head}))
    content = sink.getvalue().to_pybytes()
    return pane_file(pane, content), content


def pane_file(pane: Pane, content: bytes) -> FileInfo:
    """What the file of a pane is called and holds."""
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{FROZEN_FOLDER}/{pane.head.window_start}-{sha256[:16]}.arrow"
    return FileInfo(name, sha256, len(content), pane.documents.num_rows)


def read_pane(content: bytes, path: str) -> Pane:
    """Inverse of `freeze_pane`. Raises InputError naming `path` for what is no pane."""
    try:
        reader = pa.ipc.open_file(pa.py_buffer(content))
        table = reader.read_all()
        table.validate(full=True)
        head = json.loads((reader.schema.metadata or {})[_HEAD])
        if not table.schema.equals(DELIVERIES):
            raise ValueError(f"its columns are {', '.join(table.schema.names)}")
        return Pane(_head_of(head), table)
    except (pa.ArrowException, ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise InputError(
            f"a frozen pane must be as it was written, {path} is damaged ({' '.join(str(error).split()):.120}); copy the"
            " stream again, or move the file away if no fragment names it"
        ) from error


def read_frozen(directory: str, file: FileInfo) -> Pane:
    """The pane that a fragment of the stream in `directory` names. Raises InputError when it is missing or was changed."""
    path = join(directory, file.name)
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InputError(
            f"a frozen pane must be what its fragment says, {path} is missing or was changed; copy the stream again"
        )
    return read_pane(content, path)


def _head_of(fields: dict[str, Any]) -> PaneHead:
    head = PaneHead(**{**fields, "finished": tuple(fields["finished"])})
    times = [head.window_start, head.window_end, *([] if head.watermark is None else [head.watermark])]
    if not all(isinstance(time, int) and not isinstance(time, bool) and abs(time) <= MAX_TIME for time in times):
        raise ValueError(f"its times are {shown(times)}")
    if not 0 < head.window_end - head.window_start <= MAX_WINDOW or head.timing not in TIMINGS:
        raise ValueError(f"it says {shown(fields)}")
    if not all(isinstance(one, str) for one in head.finished):
        raise ValueError(f"it has finished {shown(head.finished)}")
    return head
