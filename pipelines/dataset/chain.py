"""The chain: what a stream has committed, a fragment for each pane, each naming the one before by its hash. No Beam.

OUT/stream.json is the genesis and never changes; OUT/windows/00000012.json is fragment 12. A fragment counts as soon as it
stands there, and its number is its name, so that of two committers one wins. All other files are named by their content.
Beside fragments of windows there are two kinds that add no documents: one that holds the rows of earlier windows, packed anew,
and one that says which files of those windows are no longer kept (chain_coverage.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clozekit.pipelines.dataset.chain_schema import CHAIN_VERSION, SOMETIMES, fragment_problems, genesis_problems
from clozekit.pipelines.dataset.manifest import ShardInfo, SplitInfo, TokenizerInfo, splits_from_json
from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.storage.files import file_size, list_sizes, read_bytes, read_many
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.json_files import parse_object
from clozekit.tokenizers.settings.sealed_json import sealed, sha256_of_fields
from clozekit.tokenizers.storage.file_systems import open_file_system

STREAM_FILE = "stream.json"
WINDOWS_FOLDER = "windows"
FROZEN_FOLDER, DATA_FOLDER, KNOWN_FOLDER, SIDE_FOLDER = "frozen", "data", "known", "side"
# Covers all of the file but itself.
OWN_SHA256 = "own_sha256"
# Of a fragment of a million documents in shards of 1 MB it is a hundredth.
_MAX_BYTES = 2**26
# Of a store so many fragments are read side by side.
_AT_ONCE = 64


@dataclass(frozen=True)
class Genesis:
    """What a stream is, decided when it begins.

    Args:
        window_seconds: length of a window of event time; windows begin at whole multiples of it since 1970.
        lateness_seconds: how long after its end (by the watermark) a window still takes documents.
        time_to_live_seconds: for how long (by the watermark) texts and deliveries are known again.
        sequence_length: the most tokens a row has.
        settings: groups of settings that decide the bytes: read, corpus, prepare.
        tokenizer: which one makes the ids; its files stand beside.
        schema_version: of this format.

    Example:

        >>> from clozekit.pipelines.dataset.chain import Genesis, read_genesis
        >>> genesis = read_genesis("tiny/stream")
        >>> isinstance(genesis, Genesis), genesis.window_seconds, genesis.tokenizer.class_name
        (True, 600, 'BertTokenizer')
    """

    window_seconds: int
    lateness_seconds: int
    time_to_live_seconds: int
    sequence_length: int
    settings: Mapping[str, Any]
    tokenizer: TokenizerInfo
    schema_version: int = CHAIN_VERSION

    def to_json(self) -> bytes:
        """Its file, the same bytes always."""
        return _to_json(dataclasses.asdict(self))

    @property
    def sha256(self) -> str:
        """Of its file: what the first fragment names as its parent."""
        return hashlib.sha256(self.to_json()).hexdigest()


@dataclass(frozen=True)
class FileInfo:
    """A file of a stream.

    Args:
        name: below the stream's folder.
        sha256, num_bytes: of the file.
        entries: what it holds: documents, hashes or lines.
    """

    name: str
    sha256: str
    num_bytes: int
    entries: int


class Covered(NamedTuple):
    """The fragments from number `first` to `last` whose windows a compacted fragment stands for."""

    first: int
    last: int


class Pruned(NamedTuple):
    """Up to which number, not included, the windows that were compacted have lost their shards of training and side files, and
    their panes."""

    shards: int
    panes: int


@dataclass(frozen=True)
class Fragment:
    """What one pane has added to a stream; or, without a pane, what became of earlier windows.

    Args:
        number: from 0, without a gap.
        parent_sha256: of the file of the fragment before; of number 0: of stream.json.
        window_start, window_end: event time in seconds since 1970, the end not included.
        timing: "early" before the window was complete, "on_time", or "late" after an on-time one; "compacted" or "pruned".
        frozen: the pane itself, whole; None of a compacted or pruned one, which adds no documents.
        splits: name ("train", "validation") -> shards; the row numbers in them begin with 0. Without rows a split is left out.
        rows_before: split -> rows of all fragments before.
        counts: what became of every document, by reason, and `redelivered` ones, which were counted before.
        known: kind ("deliveries", "texts", "finished") -> files of sorted hashes, all that is known after this fragment.
        side: files with a line for each document that left, by folder.
        watermark: event time in seconds up to which nothing more was expected.
        position: where the source was when all before had been committed; its own words, or None.
        covers: of a compacted one: whose rows it holds, packed anew; its counts are theirs.
        pruned: of a pruned one: what is no longer kept.
        schema_version: of this format.

    Example:

        >>> from clozekit.pipelines.dataset.chain import Fragment, read_chain
        >>> first = next(read_chain("tiny/stream"))
        >>> isinstance(first, Fragment), first.number, first.timing, first.rows("train")
        (True, 0, 'on_time', 28)
    """

    number: int
    parent_sha256: str
    window_start: int
    window_end: int
    timing: str
    frozen: FileInfo | None
    splits: Mapping[str, SplitInfo]
    rows_before: Mapping[str, int]
    counts: Mapping[str, int]
    known: Mapping[str, tuple[FileInfo, ...]]
    side: Mapping[str, FileInfo]
    watermark: int
    position: Any
    covers: Covered | None = None
    pruned: Pruned | None = None
    schema_version: int = CHAIN_VERSION

    @property
    def pane(self) -> FileInfo:
        """The frozen pane of a window."""
        if self.frozen is None:
            raise RuntimeError(f"fragment {self.number} is of no window")
        return self.frozen

    def rows(self, split: str) -> int:
        """Rows of a split, 0 where it has none."""
        return self.splits[split].rows if split in self.splits else 0

    def to_json(self) -> bytes:
        """Its file, the same bytes always."""
        fields = dataclasses.asdict(self)
        # Said only where they are.
        for name in SOMETIMES:
            value = fields.pop(name)
            if value is not None:
                fields[name] = value._asdict()
        return _to_json(fields)

    @property
    def sha256(self) -> str:
        """Of its file: what the next fragment names as its parent."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def files(self) -> Iterator[FileInfo]:
        """Every file that it names, but the shards."""
        if self.frozen is not None:
            yield self.frozen
        for kind in sorted(self.known):
            yield from self.known[kind]
        for folder in sorted(self.side):
            yield self.side[folder]

    def shards(self) -> Iterator[ShardInfo]:
        """The shards of all splits."""
        for split in self.splits.values():
            yield from split.shards


def fragment_name(number: int) -> str:
    return f"{WINDOWS_FOLDER}/{number:08d}.json"


def _to_json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(sealed(fields, OWN_SHA256), indent=1, sort_keys=True) + "\n").encode()


def _check_size(path: str, what: str, size: int | None) -> None:
    """size: None of a file that is not there."""
    if size is None or size > _MAX_BYTES:
        found = "there is none" if size is None else f"it has {size:,} bytes"
        raise InputError(
            f"{what} must be a file of at most {_MAX_BYTES:,} bytes, of {path} {found}; copy the stream again"
        )


def _fields_of(content: bytes, path: str, what: str, problems: Any) -> dict[str, Any]:
    fields = parse_object(content, path)
    written = fields.pop(OWN_SHA256, None)
    version = fields.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version != CHAIN_VERSION:
        raise InputError(
            f"the schema of a stream must be {CHAIN_VERSION}, {path} has {version}; read it with the Clozekit that wrote it"
        )
    for problem in problems(fields):
        raise InputError(f"{path} must be {what}, it is damaged: {problem}; copy the stream again")
    if written != sha256_of_fields(fields):
        raise InputError(
            f"the {OWN_SHA256} of {path} must match all of it, it does not: the file was edited; copy the stream again"
        )
    return fields


def genesis_from_json(content: bytes, path: str) -> Genesis:
    """Raises InputError naming `path` for what is no stream.json of this schema, or was changed since it was written."""
    fields = _fields_of(content, path, "the beginning of a stream", genesis_problems)
    return Genesis(**{**fields, "tokenizer": TokenizerInfo(**fields["tokenizer"])})


def fragment_from_json(content: bytes, path: str, sequence_length: int) -> Fragment:
    """Raises InputError naming `path` for what is no fragment of this schema, or was changed since it was written."""
    fields = _fields_of(
        content, path, "a fragment of a stream", lambda found: fragment_problems(found, sequence_length)
    )
    splits = splits_from_json(fields["splits"])
    known = {kind: tuple(FileInfo(**one) for one in files) for kind, files in fields["known"].items()}
    side = {folder: FileInfo(**one) for folder, one in fields["side"].items()}
    frozen = None if fields["frozen"] is None else FileInfo(**fields["frozen"])
    read = {**fields, "splits": splits, "known": known, "side": side, "frozen": frozen}
    read |= {"covers": Covered(**fields["covers"])} if "covers" in fields else {}
    read |= {"pruned": Pruned(**fields["pruned"])} if "pruned" in fields else {}
    return Fragment(**read)


def has_stream(directory: str) -> bool:
    filesystem, path = open_file_system(f"{directory.rstrip('/')}/{STREAM_FILE}")
    return bool(filesystem.exists(path))


def read_genesis(directory: str) -> Genesis:
    """What the stream in a directory is.

    Args:
        directory: a local path or any fsspec URL such as gs://.

    Returns:
        The genesis, checked against its own hash.

    Raises:
        InputError: when there is none, or its file is damaged or of another version.

    Example:

        >>> from clozekit.pipelines.dataset.chain import read_genesis
        >>> read_genesis("tiny/stream").lateness_seconds
        86400
        >>> read_genesis("tiny")
        Traceback (most recent call last):
        clozekit.tokenizers.common.errors.InputError: a stream's directory must hold stream.json, tiny does not; `clozekit
        stream CONFIG.YAML` makes one
    """
    path = f"{directory.rstrip('/')}/{STREAM_FILE}"
    size = file_size(path)
    if size is None:
        raise InputError(
            f"a stream's directory must hold {STREAM_FILE}, {directory} does not; `clozekit stream CONFIG.YAML` makes one"
        )
    _check_size(path, "the beginning of a stream", size)
    return genesis_from_json(read_bytes(path), path)


def _read_fragments(
    directory: str, genesis: Genesis, numbers: Sequence[int], sizes: Mapping[int, int]
) -> Iterator[Fragment]:
    """Fragments by their numbers. Raises InputError for one that is not there, damaged, or calls itself another."""
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        there = [number for number in part if sizes.get(number, _MAX_BYTES + 1) <= _MAX_BYTES]
        paths = {number: f"{directory.rstrip('/')}/{fragment_name(number)}" for number in part}
        contents = dict(zip(there, read_many([paths[number] for number in there]), strict=True))
        for number in part:
            _check_size(paths[number], "a fragment", sizes.get(number))
            yield _fragment_of(contents[number], paths[number], genesis, number)


def _fragment_of(content: bytes, path: str, genesis: Genesis, number: int) -> Fragment:
    fragment = fragment_from_json(content, path, genesis.sequence_length)
    if fragment.number != number:
        raise InputError(
            f"the fragment in {path} must have the number {number}, it has {fragment.number}; copy the stream again"
        )
    return fragment


def _fragment_sizes(directory: str) -> dict[int, int]:
    """Number -> bytes of the fragments that are there. One listing, however long the chain is."""
    return {
        int(name[:8]): size
        for name, size in list_sizes(f"{directory.rstrip('/')}/{WINDOWS_FOLDER}").items()
        if len(name) == 13 and name[:8].isdigit() and name.endswith(".json")
    }


def head_number(directory: str) -> int:
    """Number of the last fragment, -1 when there is none."""
    return max(_fragment_sizes(directory), default=-1)


def read_head(directory: str, genesis: Genesis) -> Fragment | None:
    """The last fragment, None of a stream that has committed nothing yet."""
    sizes = _fragment_sizes(directory)
    return next(_read_fragments(directory, genesis, [max(sizes)], sizes)) if sizes else None


def read_chain(directory: str) -> Iterator[Fragment]:
    """The fragments of a stream in their order, each checked against the one before.

    Args:
        directory: a local path or any fsspec URL such as gs://.

    Returns:
        An iterator over the fragments, from number 0 on.

    Raises:
        InputError: naming the first fragment that is missing, damaged, or does not follow the one before.

    Example:

        >>> from clozekit.pipelines.dataset.chain import read_chain
        >>> [fragment.number for fragment in read_chain("tiny/stream")]
        [0]
    """
    yield from fragments_after(directory, read_genesis(directory), None)


def fragments_after(
    directory: str, genesis: Genesis, last: Fragment | None, until: int | None = None
) -> Iterator[Fragment]:
    """The fragments behind `last` (None: from the first on), each checked against the one before.

    until: the number of the last one that is wanted, if there are so many. Raises InputError naming the first fragment that is
    missing, damaged, or does not follow.
    """
    sizes = _fragment_sizes(directory)
    newest = max(sizes, default=-1)
    end = newest if until is None else min(until, newest)
    numbers = range(0 if last is None else last.number + 1, end + 1)
    for fragment in _read_fragments(directory, genesis, numbers, sizes):
        _check_follows(fragment, directory, genesis, last)
        yield fragment
        last = fragment


def parent_sha256(genesis: Genesis, last: Fragment | None) -> str:
    """What the fragment behind `last` (None: the first) names as its parent."""
    return genesis.sha256 if last is None else last.sha256


def rows_until(last: Fragment | None) -> dict[str, int]:
    """Split -> rows of all fragments up to `last`; none before the first."""
    return {split: 0 if last is None else last.rows_before[split] + last.rows(split) for split in SPLITS}


def _check_follows(fragment: Fragment, directory: str, genesis: Genesis, last: Fragment | None) -> None:
    """Raises InputError unless a fragment names its parent's sha256 and the rows before it."""
    path = f"{directory.rstrip('/')}/{fragment_name(fragment.number)}"
    parent, rows = parent_sha256(genesis, last), rows_until(last)
    if fragment.parent_sha256 != parent:
        before = STREAM_FILE if last is None else fragment_name(last.number)
        raise InputError(
            f"every fragment must follow the one before, {path} was written after another {before} (sha256"
            f" {fragment.parent_sha256[:12]}, that of the file is {parent[:12]}); copy the stream again"
        )
    if dict(fragment.rows_before) != rows:
        raise InputError(
            f"rows_before of {path} must count the rows before it, {rows}, it says {dict(fragment.rows_before)}; copy"
            " the stream again"
        )
