"""What the files of a chain must look like: types, ranges, names and sums, checked on every reading. No Beam."""

import re
from collections.abc import Iterator
from typing import Any

from clozekit.pipelines.dataset.manifest_schema import split_problems, tokenizer_problems
from clozekit.pipelines.dataset.records import SPLITS
from clozekit.pipelines.dataset.row_limits import MAX_SEQUENCE_LENGTH
from clozekit.pipelines.dataset.schema_rules import (
    keys_problems,
    sha256_problems,
    shown,
    whole_problems,
)
from clozekit.pipelines.dataset.stream_limits import MAX_TIME, MAX_WINDOW

CHAIN_VERSION = 1
TIMINGS = ("early", "on_time", "late")
# Of fragments that add no documents, instead.
COMPACTED, PRUNED = "compacted", "pruned"
KNOWN_KINDS = ("deliveries", "texts", "finished")
# Folders of what left: as a dataset has them, and what came too late.
LEFT_FOLDERS = ("deadletter", "rejects", "duplicates", "contaminated", "late")
_MOST = 2**53
_GENESIS_KEYS = frozenset(
    {
        *("schema_version", "window_seconds", "lateness_seconds", "time_to_live_seconds", "sequence_length"),
        *("settings", "tokenizer"),
    }
)
_FRAGMENT_KEYS = frozenset(
    {
        *("schema_version", "number", "parent_sha256", "window_start", "window_end", "timing", "frozen"),
        *("splits", "rows_before", "counts", "known", "side", "watermark", "position"),
    }
)
# What a fragment has beside them: key -> the timing that it has it with, and what is in it.
SOMETIMES = {"covers": (COMPACTED, ("first", "last")), "pruned": (PRUNED, ("shards", "panes"))}
_FILE_KEYS = frozenset({"name", "sha256", "num_bytes", "entries"})
# Each file is named by what it holds: the first 16 digits of its sha256.
_NAMES = {
    "frozen": re.compile(r"frozen/-?[0-9]{1,12}-([0-9a-f]{16})\.arrow"),
    "known": re.compile(r"known/(?:deliveries|texts|finished)-([0-9a-f]{16})\.arrow"),
    "side": re.compile(r"side/(?:deadletter|rejects|duplicates|contaminated|late)-([0-9a-f]{16})\.jsonl\.gz"),
    "shard": re.compile(r"data/(?:train|validation)-([0-9a-f]{16})\.tfrecord"),
}


def is_content_name(name: str) -> bool:
    """Whether a path below a stream's folder is of a kind that streams write and name by content."""
    return any(pattern.fullmatch(name) for pattern in _NAMES.values())


def genesis_problems(fields: Any) -> Iterator[str]:
    yield from keys_problems("it", fields, _GENESIS_KEYS)
    yield from whole_problems("window_seconds", fields["window_seconds"], 1, MAX_WINDOW)
    for name in ("lateness_seconds", "time_to_live_seconds"):
        yield from whole_problems(name, fields[name], 0, MAX_TIME)
    yield from whole_problems("sequence_length", fields["sequence_length"], 1, MAX_SEQUENCE_LENGTH)
    settings = fields["settings"]
    if not isinstance(settings, dict) or not all(isinstance(group, dict) for group in settings.values()):
        yield f"settings must be groups of settings, they are {shown(settings)}"
    yield from tokenizer_problems(fields["tokenizer"])


def fragment_problems(fields: Any, sequence_length: int) -> Iterator[str]:
    sometimes = SOMETIMES.keys() & fields.keys() if isinstance(fields, dict) else set()
    yield from keys_problems("it", fields, _FRAGMENT_KEYS | sometimes)
    yield from whole_problems("number", fields["number"], 0, 10**8 - 1)
    yield from sha256_problems("parent_sha256", fields["parent_sha256"])
    yield from whole_problems("window_start", fields["window_start"], -MAX_TIME, MAX_TIME)
    start = fields["window_start"]
    longest = MAX_WINDOW if fields["timing"] in TIMINGS else 2 * MAX_TIME
    yield from whole_problems("window_end", fields["window_end"], start + 1, start + longest)
    yield from whole_problems("watermark", fields["watermark"], -MAX_TIME, MAX_TIME)
    yield from _kind(fields, sometimes)
    yield from _counts(fields)
    yield from _splits(fields["splits"], sequence_length)
    known, side = fields["known"], fields["side"]
    yield from keys_problems("known", known, frozenset(KNOWN_KINDS))
    for kind in KNOWN_KINDS:
        if not isinstance(known[kind], list):
            yield f"known.{kind} must be a list of files, it is {shown(known[kind])}"
            return
        for one in known[kind]:
            yield from _file(f"a file of known.{kind}", one, "known")
    if not isinstance(side, dict) or not set(side) <= set(LEFT_FOLDERS):
        yield f"side must be some of {', '.join(LEFT_FOLDERS)}, it is {shown(side)}"
        return
    for folder, one in side.items():
        yield from _file(f"side.{folder}", one, "side")


def _kind(fields: Any, sometimes: set[str]) -> Iterator[str]:
    """A fragment is of a window, with a pane, or it says what became of windows before it, without one."""
    timing = fields["timing"]
    timings = (*TIMINGS, COMPACTED, PRUNED)
    if timing not in timings:
        yield f"timing must be one of {', '.join(timings)}, it is {shown(timing)}"
        return
    wanted = {key for key, (kind, _) in SOMETIMES.items() if kind == timing}
    if sometimes != wanted:
        yield f"a fragment that is {timing} must have {shown(sorted(wanted))} beside the keys of all, it has {shown(sorted(sometimes))}"
        return
    if not wanted:
        yield from _file("frozen", fields["frozen"], "frozen")
        return
    if fields["frozen"] is not None or fields["side"] or (timing == PRUNED and fields["splits"]):
        yield f"a fragment that is {timing} must have no pane, no side files{' and no rows' if timing == PRUNED else ''}, it has some"
    for key in wanted:
        names = SOMETIMES[key][1]
        yield from keys_problems(key, fields[key], frozenset(names))
        for name in names:
            yield from whole_problems(f"{key}.{name}", fields[key][name], 0, fields["number"] - (key == "covers"))


def _counts(fields: Any) -> Iterator[str]:
    counts, before = fields["counts"], fields["rows_before"]
    if not isinstance(counts, dict):
        yield f"counts must be an object, they are {shown(counts)}"
        return
    for name, number in counts.items():
        yield from whole_problems(
            f"counts.{name}" if name.isidentifier() else f"counts.{shown(name)}", number, 0, _MOST
        )
    yield from keys_problems("rows_before", before, frozenset(SPLITS))
    for split in SPLITS:
        yield from whole_problems(f"rows_before.{split}", before[split], 0, _MOST)


def _file(what: str, found: Any, kind: str) -> Iterator[str]:
    yield from keys_problems(what, found, _FILE_KEYS)
    yield from sha256_problems(f"sha256 of {what}", found["sha256"])
    yield from whole_problems(f"num_bytes of {what}", found["num_bytes"], 1, _MOST)
    # Nothing is compressed to less than a thousandth.
    yield from whole_problems(f"entries of {what}", found["entries"], 0, 1100 * found["num_bytes"])
    name = found["name"]
    match = _NAMES[kind].fullmatch(name) if isinstance(name, str) else None
    if match is None or match[1] != found["sha256"][:16]:
        yield f"the name of {what} must be of its kind and hold the beginning of its sha256, it is {shown(name)}"


def _splits(splits: Any, sequence_length: int) -> Iterator[str]:
    if not isinstance(splits, dict) or not set(splits) <= set(SPLITS):
        yield f"splits must be some of {', '.join(SPLITS)}, they are {shown(splits)}"
        return
    seen: set[str] = set()
    for name, split in splits.items():
        yield from split_problems(name, split, sequence_length, seen, "data/")
        for shard in split["shards"]:
            match = _NAMES["shard"].fullmatch(shard["name"])
            if match is None or match[1] != shard["sha256"][:16]:
                yield f"the name of a shard must hold the beginning of its sha256, it is {shown(shard['name'])}"
