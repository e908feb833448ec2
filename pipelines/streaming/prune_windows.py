"""Pruning: files of windows that were compacted go when they are old enough; first the chain says so.

First a fragment of the chain names what is no longer kept, then garbage is removed. Whoever reads the chain knows what is gone,
and a kill in between leaves files that the next removal takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clozekit.pipelines.dataset.chain import Fragment, Genesis, Pruned, parent_sha256, rows_until
from clozekit.pipelines.dataset.chain_coverage import kept_files, pruned_of
from clozekit.pipelines.dataset.chain_schema import PRUNED
from clozekit.pipelines.settings.compact_settings import PruneSettings
from clozekit.pipelines.streaming.commit_pane import append
from clozekit.pipelines.streaming.make_fragment import Write
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.remove_garbage import remove_garbage

_DAY = 86_400


@dataclass(frozen=True)
class Removal:
    """What pruning a stream removes.

    Args:
        pruned: up to which number windows have lost their shards, and their panes, afterwards.
        names: the files that are no longer kept, below the stream's folder, sorted.
        num_bytes: of them, as the chain says.

    Example:

        >>> from clozekit.pipelines.streaming.prune_windows import Removal, planned_removal
        >>> isinstance(planned_removal("tiny/stream"), Removal), planned_removal("tiny/stream").names  # nothing was compacted
        (True, ())
    """

    pruned: Pruned
    names: tuple[str, ...]
    num_bytes: int


def prune_windows(directory: str, settings: PruneSettings | None = None) -> list[str]:
    """Removes the files of compacted windows that are old enough, and what no fragment names, and gives the names.

    Args:
        directory: of the stream, a local path or a gs:// URL.
        settings: for how long they are kept, and whether panes go too.

    Returns:
        The names of the files that were removed. In a store those that are younger than a day are removed by the next one.

    Raises:
        InputError: when there is no stream, or it is damaged.

    Example:

        >>> from clozekit.pipelines.streaming.prune_windows import prune_windows
        >>> prune_windows("tiny/stream")
        []
    """
    settings = settings or PruneSettings()
    stream = open_stream(directory)

    def made(_: Write) -> Fragment | None:
        fragments = stream.whole_chain()
        pruned = prunable(fragments, settings)
        return None if pruned == pruned_of(fragments) else _pruned_fragment(stream.genesis, fragments[-1], pruned)

    append(stream, made)
    return remove_garbage(stream, waits=True)


def planned_removal(directory: str, settings: PruneSettings | None = None) -> Removal:
    """What `prune_windows` would remove of what the chain names; nothing is written.

    Args:
        directory: of the stream, a local path or any fsspec URL.
        settings: for how long files are kept, and whether panes go too.

    Returns:
        The files and their sizes.

    Raises:
        InputError: when there is no stream, or it is damaged.

    Example:

        >>> from clozekit.pipelines.streaming.prune_windows import planned_removal
        >>> planned_removal("tiny/stream").num_bytes
        0
    """
    stream = open_stream(directory)
    fragments = stream.whole_chain()
    pruned = prunable(fragments, settings or PruneSettings())
    if pruned == pruned_of(fragments):
        return Removal(pruned, (), 0)
    after = [*fragments, _pruned_fragment(stream.genesis, fragments[-1], pruned)]
    names = kept_files(fragments) - kept_files(after)
    sizes = {file.name: file.num_bytes for fragment in fragments for file in fragment.files()}
    sizes |= {shard.name: shard.num_bytes for fragment in fragments for shard in fragment.shards()}
    return Removal(pruned, tuple(sorted(names)), sum(sizes[name] for name in names))


def prunable(fragments: Sequence[Fragment], settings: PruneSettings) -> Pruned:
    """Up to where windows may lose their files: those whose compacted fragment is old enough, and what is gone already."""
    gone, end = pruned_of(fragments), 0
    windows = [fragment.number for fragment in fragments if fragment.frozen is not None]
    for fragment in fragments:
        if fragment.covers is None:
            continue
        # By the stream's own time, in which a run that follows it goes on too.
        is_old = fragments[-1].watermark - fragment.watermark >= settings.retain_days * _DAY
        if is_old and sum(number > fragment.number for number in windows) >= settings.retain_windows:
            end = max(end, fragment.covers.last + 1)
    return Pruned(max(gone.shards, end), max(gone.panes, end if settings.panes else 0))


def _pruned_fragment(genesis: Genesis, head: Fragment, pruned: Pruned) -> Fragment:
    return Fragment(
        number=head.number + 1,
        parent_sha256=parent_sha256(genesis, head),
        window_start=head.window_start,
        window_end=head.window_end,
        timing=PRUNED,
        frozen=None,
        splits={},
        rows_before=rows_until(head),
        counts={},
        known=head.known,
        side={},
        watermark=head.watermark,
        position=head.position,
        pruned=pruned,
    )
