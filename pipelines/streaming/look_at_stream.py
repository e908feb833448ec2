"""Looking at a stream: what it is and holds, and a line for each of its fragments."""

from collections.abc import Iterator

from clozekit.pipelines.dataset.chain import read_chain, read_genesis
from clozekit.pipelines.dataset.chain_coverage import check_coverage, covered_end, pruned_of, standing
from clozekit.pipelines.dataset.chain_view import view_of
from clozekit.pipelines.dataset.describe import describe_manifest
from clozekit.pipelines.streaming.commit_pane import waiting_panes
from clozekit.pipelines.streaming.open_stream import Stream
from clozekit.pipelines.streaming.stream_metrics import describe_fragment


def list_lines(directory: str) -> Iterator[str]:
    """A line for each fragment of the stream, in their order."""
    for fragment in read_chain(directory):
        yield describe_fragment(fragment)


def describe_stream_lines(directory: str) -> list[str]:
    """What the stream is, and what its fragments hold together, as `inspect` says it of a dataset."""
    stream = Stream(directory, read_genesis(directory))
    genesis, fragments = stream.genesis, stream.read_on()
    waiting = waiting_panes(stream)
    lines = [
        f"stream    {directory}",
        f"windows   of {genesis.window_seconds:,} s, late documents taken for {genesis.lateness_seconds:,} s, texts known for"
        f" {genesis.time_to_live_seconds:,} s",
        f"chain     {len(fragments):,} fragments" + (f", {len(waiting):,} panes waiting" if waiting else ""),
    ]
    if fragments:
        lines.append(f"head      {fragments[-1].sha256}")
        check_coverage(fragments)
        end, gone = covered_end(fragments), pruned_of(fragments)
        if end:
            pruned = (
                f", shards before fragment {gone.shards:,} and panes before {gone.panes:,} pruned"
                if gone.shards
                else ""
            )
            lines.append(f"compacted fragments before {end:,}{pruned}")
        lines += describe_manifest(view_of(genesis, standing(fragments)), directory)[2:]
    return lines
