"""Verifying a stream: every byte that its fragments name, their order and account; and making it again from its panes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clozekit.pipelines.dataset.chain import (
    FROZEN_FOLDER,
    KNOWN_FOLDER,
    FileInfo,
    Fragment,
    fragment_name,
    read_genesis,
)
from clozekit.pipelines.dataset.chain_coverage import check_coverage, kept_files, known_files, pruned_of, standing
from clozekit.pipelines.dataset.chain_view import view_of
from clozekit.pipelines.rows.accounts import check_account
from clozekit.pipelines.storage.files import join
from clozekit.pipelines.streaming.commit_pane import waiting_panes
from clozekit.pipelines.streaming.compact_windows import (
    compacted_fragment,
    covered_counts,
    covered_rows,
    covered_windows,
)
from clozekit.pipelines.streaming.durable_files import write_durably
from clozekit.pipelines.streaming.known_hashes import TableCache
from clozekit.pipelines.streaming.make_fragment import Write, make_fragment
from clozekit.pipelines.streaming.open_stream import Stream, open_stream
from clozekit.pipelines.streaming.pane import read_frozen
from clozekit.pipelines.verify import Problem, shard_problems, tokenizer_problems
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import open_file_system


@dataclass(frozen=True)
class VerifiedStream:
    """What `verify_stream` checked, and what was wrong.

    Args:
        num_fragments, num_documents, num_rows, num_tokens: of the chain; documents are those that came in, once each.
        num_waiting: frozen panes that are in no fragment yet.
        problems: empty for a stream that is as it must be.

    Example:

        >>> from clozekit.pipelines.streaming.verify_stream import VerifiedStream, verify_stream
        >>> verify_stream("tiny/stream") == VerifiedStream(1, 36, 36, 396, num_waiting=0, problems=())
        True
    """

    num_fragments: int
    num_documents: int
    num_rows: int
    num_tokens: int
    num_waiting: int
    problems: tuple[Problem, ...]


def verify_stream(directory: str) -> VerifiedStream:
    """Reads every byte of a stream that its chain names and says what is not as it and the format have it.

    Args:
        directory: a local path or any fsspec URL.

    Returns:
        What was checked, with a `Problem` for each thing that is wrong.

    Raises:
        InputError: when it holds no stream, or its chain itself is damaged: which fragment, and how.

    Example:

        >>> from clozekit.pipelines.streaming.verify_stream import verify_stream
        >>> verify_stream("tiny/stream").problems
        ()
    """
    stream = Stream(directory, read_genesis(directory))
    fragments = stream.read_on()
    check_coverage(fragments)
    view = view_of(stream.genesis, standing(fragments))
    problems = list(tokenizer_problems(directory, view))
    seen: set[str] = set()
    needed = kept_files(fragments)
    for fragment in fragments:
        problems += _fragment_problems(stream, fragment, needed, seen)
        if fragment.covers is not None:
            problems += _covered_problems(fragment, covered_windows(fragments, fragment.covers))
    return VerifiedStream(
        len(fragments),
        view.counts.get("documents_in", 0),
        sum(split.rows for split in view.splits.values()),
        sum(split.tokens for split in view.splits.values()),
        len(waiting_panes(stream)),
        tuple(problems),
    )


def _fragment_problems(stream: Stream, fragment: Fragment, needed: set[str], seen: set[str]) -> Iterator[Problem]:
    """seen: frozen panes of the fragments before; that of this one is added."""
    name = fragment_name(fragment.number)
    try:
        check_account(fragment.counts)
    except RuntimeError as error:
        yield Problem(name, str(error))
    if fragment.frozen is not None:
        if fragment.frozen.name in seen:
            yield Problem(name, f"its pane {fragment.frozen.name} was committed before")
        seen.add(fragment.frozen.name)
    for file in fragment.files():
        # Known hashes that were merged since are gone, and what was pruned.
        if file.name in needed:
            yield from _file_problems(stream.directory, file)
    view = view_of(stream.genesis, [fragment])
    for split, info in view.splits.items():
        if fragment.counts.get(f"pieces_{split}") != info.pieces:
            said = fragment.counts.get(f"pieces_{split}")
            yield Problem(name, f"its counts must have the {info.pieces:,} pieces of {split}, they have {said}")
        histogram = np.zeros(len(info.length_histogram), np.int64)
        found = [
            problem
            for shard in info.shards
            if shard.name in needed
            for problem in shard_problems(stream.directory, view, shard, histogram)
        ]
        yield from found
        is_there = all(shard.name in needed for shard in info.shards)
        if is_there and not found and tuple(histogram.tolist()) != info.length_histogram:
            yield Problem(name, f"the lengths of its {split} documents are not those of its histogram")


def _covered_problems(fragment: Fragment, windows: Sequence[Fragment]) -> Iterator[Problem]:
    """A compacted fragment holds the documents of its windows, each of them cut into the same pieces."""
    if dict(fragment.counts) != covered_counts(windows):
        yield Problem(
            fragment_name(fragment.number), "its counts must be the sums of those of the windows that it covers"
        )
    for split, info in fragment.splits.items():
        of_windows = [window.splits[split].length_histogram for window in windows if split in window.splits]
        if info.length_histogram != tuple(map(sum, zip(*of_windows, strict=True))):
            yield Problem(
                fragment_name(fragment.number), f"its {split} documents have not the lengths of those it covers"
            )


def _file_problems(directory: str, file: FileInfo) -> Iterator[Problem]:
    filesystem, path = open_file_system(join(directory, file.name))
    if not filesystem.isfile(path):
        yield Problem(file.name, "it is missing")
        return
    size = filesystem.size(path)
    if size != file.num_bytes:
        yield Problem(file.name, f"it must hold {file.num_bytes:,} bytes, it holds {size:,}")
        return
    digest = hashlib.sha256(filesystem.cat_file(path)).hexdigest()
    if digest != file.sha256:
        yield Problem(file.name, f"its sha256 must be {file.sha256[:12]}, it is {digest[:12]}")


def make_again(stream: Stream, write: Write) -> None:
    """Makes every file of a chain that its panes can make again; write: is given the name and content of each.

    Raises InputError when a pane is missing or damaged, when what is needed was made from panes that were pruned, and when what
    comes out is not what the chain says, as with another version of a library.
    """
    tables = TableCache()
    fragments = stream.whole_chain()
    gone = pruned_of(fragments).panes
    _check_whole(stream, fragments, gone)

    def keep(name: str, content: bytes) -> None:
        if name.startswith(f"{KNOWN_FOLDER}/"):
            tables.add(name, content)
        write(name, content)

    for fragment in fragments[gone:]:
        head = fragments[fragment.number - 1] if fragment.number else None
        made: Fragment | None = None
        if fragment.covers is not None and fragment.covers.first >= gone:
            before = fragments[: fragment.number]
            splits = covered_rows(stream, before, fragment.covers, write)
            made = compacted_fragment(stream, before, fragment.covers, splits)
        elif fragment.frozen is not None:
            problem = next(_file_problems(stream.directory, fragment.frozen), None)
            if problem is not None:
                raise InputError(
                    f"a stream is made again from all of {FROZEN_FOLDER}/, {problem}; copy that file from where the stream came"
                    " from"
                )
            pane = read_frozen(stream.directory, fragment.frozen)
            made = make_fragment(
                *(stream.directory, stream.genesis, stream.options, head, pane, fragment.frozen, keep, tables)
            )
            tables.forget_others([file.name for file in known_files(made)])
        if made is not None and made != fragment:
            raise InputError(
                f"fragment {fragment.number} made again must be what {fragment_name(fragment.number)} says, it is not: this"
                " Clozekit or a library of it is of another version; use the one that wrote the stream"
            )


def _check_whole(stream: Stream, fragments: Sequence[Fragment], gone: int) -> None:
    """Raises InputError unless all that was made from panes that were pruned is whole."""
    if not gone:
        return
    before, needed = fragments[gone - 1], kept_files(fragments)
    made = [one for one in fragments if one.number < gone or (one.covers is not None and one.covers.first < gone)]
    files = [FileInfo(shard.name, shard.sha256, shard.num_bytes, 0) for one in made for shard in one.shards()]
    for file in [*files, *known_files(before)]:
        problem = next(_file_problems(stream.directory, file), None) if file.name in needed else None
        if problem is not None:
            raise InputError(
                f"what is damaged is made again from its panes, {problem} and the panes before fragment {gone} were pruned;"
                " copy that file from where the stream came from"
            )


def repair_stream(directory: str) -> list[str]:
    """Writes the files of a chain that are missing or damaged anew, from its frozen panes.

    Args:
        directory: a local path or a gs:// URL.

    Returns:
        The names of the files that were written.

    Raises:
        InputError: when the chain itself or a frozen pane is damaged: those can't be made again.

    Example:

        >>> from clozekit.pipelines.streaming.verify_stream import repair_stream
        >>> repair_stream("tiny/stream")
        []
    """
    stream = open_stream(directory)
    needed = stream.needed()
    written: list[str] = []

    def write(name: str, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        if name in needed and any(_file_problems(directory, FileInfo(name, sha256, len(content), 0))):
            write_durably(directory, name, content)
            written.append(name)

    with stream.writing():
        make_again(stream, write)
    return written
