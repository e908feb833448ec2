"""The measures of a stream that is being followed: as a line on the screen, as JSON, as Prometheus text."""

import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from clozekit.pipelines.dataset.chain import Fragment
from clozekit.pipelines.streaming.follow_source import Progress

# What "documents a second" looks back on.
_RATE_SECONDS = 60.0
_HELP = {
    "lag_seconds": "Now minus the watermark: how old what is not known to be complete may be",
    "documents_per_second": "Documents read a second, over the last minute",
    "documents_read": "Documents and dead letters read since the start",
    "fragments": "Fragments committed since the start",
    "documents_in": "Documents committed, once each",
    "documents_late": "Documents set aside because their window was closed for good",
    "duplicates": "Documents dropped because their text was known",
    "dead_letters": "Records that could not be read or processed",
    "redelivered": "Documents that came once more and were passed over",
    "rows": "Rows of training and validation",
    "tokens": "Tokens in them",
    "shard_bytes": "Bytes of their shards",
    "open_windows": "Windows that are open",
    "open_bytes": "Bytes of memory that their documents take",
}


@dataclass
class StreamMeasures:
    """Adds up what a follower reports. clock: seconds that never go back; now: seconds since 1970."""

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _totals: Counter[str] = field(default_factory=Counter)
    _read: deque[tuple[float, int]] = field(default_factory=deque)
    _progress: Progress | None = None

    def take(self, progress: Progress, fragment: Fragment | None) -> None:
        """What `Follower` shows."""
        self._progress = progress
        moment = self.clock()
        self._read.append((moment, progress.documents_read))
        while len(self._read) > 2 and self._read[0][0] < moment - _RATE_SECONDS:
            self._read.popleft()
        if fragment is not None:
            counts = fragment.counts
            self._totals["fragments"] += 1
            for name, counted in (
                ("documents_in", "documents_in"),
                ("documents_late", "documents_late"),
                ("duplicates", "duplicates_exact"),
                ("dead_letters", "dead_lettered"),
                ("redelivered", "redelivered"),
            ):
                self._totals[name] += counts.get(counted, 0)
            for shard in fragment.shards():
                self._totals["rows"] += shard.rows
                self._totals["tokens"] += shard.tokens
                self._totals["shard_bytes"] += shard.num_bytes

    def values(self) -> dict[str, float | None]:
        """Name -> value; the lag is None while the source says no watermark."""
        progress = self._progress or Progress()
        (first, before), (last, after) = (self._read[0], self._read[-1]) if self._read else ((0.0, 0), (0.0, 0))
        found: dict[str, float | None] = {
            "lag_seconds": None if progress.watermark is None else round(max(0.0, self.now() - progress.watermark), 1),
            "documents_per_second": round((after - before) / (last - first), 1) if last > first else 0.0,
            "documents_read": progress.documents_read,
            "open_windows": progress.open_windows,
            "open_bytes": progress.open_bytes,
        }
        return {name: found[name] if name in found else self._totals[name] for name in _HELP}

    def line(self) -> str:
        """All of it in one line."""
        values = self.values()
        lag = "unknown" if values["lag_seconds"] is None else f"{values['lag_seconds']:,.0f} s"
        counts = ", ".join(
            f"{values[name]:,} {name.replace('_', ' ').removeprefix('documents ')}"
            for name in ("documents_late", "duplicates", "dead_letters", "redelivered")
            if values[name]
        )
        return (
            f"lag {lag} | {values['documents_per_second']:,.0f} documents/s | {values['fragments']:,} fragments,"
            f" {values['documents_in']:,} documents{', ' + counts if counts else ''} | {values['rows']:,} rows,"
            f" {(values['shard_bytes'] or 0) / 1e6:,.1f} MB | open: {values['open_windows']:,} windows,"
            f" {(values['open_bytes'] or 0) / 1e6:,.1f} MB"
        )

    def to_json(self) -> str:
        return json.dumps({"time": round(self.now(), 3), **self.values()}) + "\n"

    def to_prometheus(self) -> str:
        """The text format 0.0.4 of Prometheus, as its node exporter's textfile collector reads it."""
        lines = []
        for name, value in self.values().items():
            if value is not None:
                metric = f"clozekit_stream_{name}"
                lines += [f"# HELP {metric} {_HELP[name]}.", f"# TYPE {metric} gauge", f"{metric} {value}"]
        return "\n".join(lines) + "\n"


def describe_fragment(fragment: Fragment) -> str:
    """One line that says what a fragment holds."""
    rows = " + ".join(f"{info.rows:,} {split}" for split, info in fragment.splits.items()) or "no"
    if fragment.covers is not None:
        first, last = fragment.covers
        return f"{fragment.number:>8} compacted: fragments {first:,} to {last:,}, {rows} rows in the place of theirs"
    if fragment.pruned is not None:
        shards, panes = fragment.pruned
        return f"{fragment.number:>8} pruned: shards before fragment {shards:,}, panes before fragment {panes:,}"
    start, end = (
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))
        for moment in (fragment.window_start, fragment.window_end)
    )
    left = {
        name: number
        for name, number in fragment.counts.items()
        if number and not name.startswith(("documents_train", "documents_validation", "documents_in", "pieces_"))
    }
    said = "".join(f", {number:,} {name}" for name, number in left.items())
    return (
        f"{fragment.number:>8} {start} to {end.partition(' ')[2] if start[:10] == end[:10] else end} UTC {fragment.timing}:"
        f" {fragment.counts['documents_in']:,} documents, {rows} rows{said}"
    )
