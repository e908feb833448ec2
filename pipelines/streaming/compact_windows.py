"""Compacting windows within their stream: one fragment holds the rows of many, packed and shuffled anew.

It holds the very documents that they hold, in the same splits: what was dropped when it came stays dropped, and no document that
a run is measured on comes back to train on. So its counts are the sums of theirs, and its bytes a function of their panes: it can
be made again, and whoever makes it makes the same files. The windows stay as they are until they are pruned.
"""

import time
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from clozekit.pipelines.dataset.chain import (
    Covered,
    Fragment,
    fragment_name,
    fragments_after,
    parent_sha256,
    rows_until,
)
from clozekit.pipelines.dataset.chain_coverage import covered_end, known_files
from clozekit.pipelines.dataset.chain_schema import COMPACTED
from clozekit.pipelines.dataset.manifest import SplitInfo
from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.settings.compact_settings import ReplaceSettings
from clozekit.pipelines.streaming.commit_pane import append
from clozekit.pipelines.streaming.known_hashes import TableCache
from clozekit.pipelines.streaming.make_fragment import Write, pieces_of_splits, take_pane, write_rows
from clozekit.pipelines.streaming.open_stream import Stream, open_stream
from clozekit.pipelines.streaming.pane import read_frozen
from clozekit.tokenizers.common.errors import InputError

# In a store what nobody names is removed after a day: files that were written longer ago are written again.
_SECONDS_GOOD = 6 * 3600


def compact_windows(directory: str, settings: ReplaceSettings | None = None) -> Fragment | None:
    """Adds a fragment that stands for the oldest windows that none stands for yet; None when there are fewer than two of them.

    Args:
        directory: of the stream, a local path or a gs:// URL.
        settings: up to which window, and how much at once.

    Returns:
        The fragment, or None.

    Raises:
        InputError: for a stream that is damaged, and one that this Clozekit makes otherwise.

    Example:

        >>> from clozekit.pipelines.streaming.compact_windows import compact_windows
        >>> compact_windows("tiny/stream") is None  # it has one window
        True
    """
    settings = settings or ReplaceSettings()
    stream = open_stream(directory)
    fragments: list[Fragment] = []
    done: dict[Covered, tuple[float, dict[str, SplitInfo]]] = {}

    def made(write: Write) -> Fragment | None:
        nonlocal fragments
        if stream.head is None:
            return None
        known = fragments[-1] if fragments else None
        fragments += fragments_after(directory, stream.genesis, known, stream.head.number)
        covered = choose_covered(fragments, settings)
        if covered is None:
            return None
        # A committer that was faster has changed our number, not our rows.
        if covered not in done or time.monotonic() - done[covered][0] > _SECONDS_GOOD:
            done[covered] = time.monotonic(), covered_rows(stream, fragments, covered, write)
        return compacted_fragment(stream, fragments, covered, done[covered][1])

    return append(stream, made)


def choose_covered(fragments: Sequence[Fragment], settings: ReplaceSettings) -> Covered | None:
    """The windows to compact: from the first that no compacted fragment covers, in the order of the chain."""
    first, tokens, until = covered_end(fragments), 0, settings.bound()
    chosen: list[int] = []
    for fragment in fragments[first:]:
        if fragment.frozen is None:
            continue
        if until is not None and fragment.window_start >= until:
            break
        tokens += sum(split.tokens for split in fragment.splits.values())
        # Two at least: else one that is larger would stand in the way for ever.
        if len(chosen) > 1 and tokens > settings.max_tokens:
            break
        chosen.append(fragment.number)
    return Covered(first, chosen[-1]) if len(chosen) > 1 else None


def covered_windows(fragments: Sequence[Fragment], covered: Covered) -> list[Fragment]:
    """The windows that a compacted fragment stands for."""
    return [one for one in fragments[covered.first : covered.last + 1] if one.frozen is not None]


def covered_counts(windows: Sequence[Fragment]) -> dict[str, int]:
    """What became of their documents."""
    counts: Counter[str] = Counter()
    for window in windows:
        counts.update(window.counts)
    return dict(sorted(counts.items()))


def covered_rows(stream: Stream, fragments: Sequence[Fragment], covered: Covered, write: Write) -> dict[str, SplitInfo]:
    """The rows of some windows, packed anew from their panes, and the hashes that were known after the last of them: with these
    what comes behind can be made again without the panes before.

    Raises InputError for a pane that is missing or damaged, and for windows that this Clozekit makes otherwise.
    """
    directory, genesis = stream.directory, stream.genesis
    tables, contents = TableCache(), dict[str, bytes]()
    parts: dict[str, list[pa.RecordBatch]] = {split: [] for split in SPLITS}

    def keep(name: str, content: bytes) -> None:
        tables.add(name, content)
        contents[name] = content

    windows = covered_windows(fragments, covered)
    for window in windows:
        pane = read_frozen(directory, window.pane)
        before = fragments[window.number - 1] if window.number else None
        taken = take_pane(directory, genesis, before, pane, keep, tables)
        if taken.known != window.known or taken.watermark != window.watermark:
            raise InputError(
                f"windows are compacted by the Clozekit that made them, {fragment_name(window.number)} comes out otherwise here:"
                " this Clozekit or a library of it is of another version; use the one that wrote the stream"
            )
        for split, pieces in pieces_of_splits(pane.documents, taken.choice, stream.options).items():
            parts[split].append(pieces)
        names = [file.name for file in known_files(window)]
        tables.forget_others(names)
        contents = {name: content for name, content in contents.items() if name in names}
    counts = covered_counts(windows)
    splits = {}
    for split, batches in parts.items():
        pieces = pa.Table.from_batches(batches).combine_chunks()
        if pieces.num_rows != counts[f"pieces_{split}"]:
            raise InputError(
                f"the panes of fragments {covered.first} to {covered.last} must hold the {counts[f'pieces_{split}']:,} pieces of"
                f" {split} that those say, they hold {pieces.num_rows:,}; copy the stream again"
            )
        if pieces.num_rows:
            splits[split] = write_rows(split, pieces.to_batches()[0], counts, stream.options, write)
    for name, content in contents.items():
        write(name, content)
    return splits


def compacted_fragment(
    stream: Stream, fragments: Sequence[Fragment], covered: Covered, splits: dict[str, SplitInfo]
) -> Fragment:
    """The fragment behind the last one that holds these rows in the place of those of the windows."""
    head, windows = fragments[-1], covered_windows(fragments, covered)
    return Fragment(
        number=head.number + 1,
        parent_sha256=parent_sha256(stream.genesis, head),
        window_start=min(window.window_start for window in windows),
        window_end=max(window.window_end for window in windows),
        timing=COMPACTED,
        frozen=None,
        splits=splits,
        # Its rows have numbers of their own, so that their masks are no copies either.
        rows_before=rows_until(head),
        counts=covered_counts(windows),
        known=head.known,
        side={},
        watermark=head.watermark,
        position=head.position,
        covers=covered,
    )
