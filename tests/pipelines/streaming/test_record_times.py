"""Records of files and lines at times of their own: which window each is in, in whatever order files are read, and bad times."""

import datetime
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.settings.stream_recipe import StreamRecipe, make_stream_recipe
from clozekit.pipelines.settings.stream_settings import WatchSettings
from clozekit.pipelines.streaming.follow_recipe import follow
from clozekit.pipelines.streaming.pane import read_frozen
from clozekit.pipelines.streaming.sources.folder_source import FolderSource
from clozekit.pipelines.streaming.sources.standard_input import StandardInputSource
from clozekit.pipelines.streaming.verify_stream import verify_stream

# 2025-11-29 06:00 UTC.
HOUR = 3600
START = 1_764_396_000
TIMED = SourceSettings(time_key="published", disorder_seconds=0, idle_seconds=10)


def recipe_of(folder: Path, tokenizer_directory: str, **stream: object) -> StreamRecipe:
    fields = {
        "tokenizer": tokenizer_directory,
        "output": str(folder / "stream"),
        "read": {"inputs": [str(folder / "incoming")]},
        "source": {"time_key": "published", "disorder_seconds": 0},
        "rows": {"sequence_length": 32},
        "stream": {"window_seconds": HOUR, "lateness_seconds": HOUR, "settle_seconds": 0, "until_idle": True} | stream,
    }
    return make_stream_recipe(fields, "the test")


def write_lines(path: Path, *times: object) -> None:
    lines = [
        {"id": f"{path.stem}-{number}", "text": "the cat sat on the mat .", "published": time}
        for number, time in enumerate(times)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def windows(directory: Path) -> dict[int, list[str]]:
    """Hour after START of each window -> the ids of its documents."""
    found: dict[int, list[str]] = {}
    for fragment in read_chain(str(directory)):
        ids = read_frozen(str(directory), fragment.pane).documents.column("id").to_pylist()
        hour = (fragment.window_start - START) // HOUR
        found[hour] = sorted([*found.get(hour, []), *(one for one in ids if one is not None)])
    return found


def chain(directory: Path) -> list[Fragment]:
    return list(read_chain(str(directory)))


def test_documents_of_every_format_are_in_the_windows_of_their_times(tokenizer_directory: str, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    write_lines(incoming / "a.jsonl", START, "2025-11-29T07:30:00Z", START * 1000 + 1)
    texts = ["the dog ran .", "the old cat sat ."]
    moments = [datetime.datetime.fromtimestamp(START + hour * HOUR, datetime.UTC) for hour in (1, 2)]
    pq.write_table(pa.table({"text": texts, "id": ["b-0", "b-1"], "published": moments}), incoming / "b.parquet")
    dates = [datetime.date(2025, 11, 29), None]
    pq.write_table(pa.table({"text": texts, "id": ["c-0", "c-1"], "published": dates}), incoming / "c.parquet")
    (incoming / "d.csv").write_text(f"id,text,published\nd-0,the bird flew .,{START + HOUR}\n")
    before = datetime.datetime.now(datetime.UTC).timestamp()
    follow(recipe_of(tmp_path, tokenizer_directory))
    found = windows(tmp_path / "stream")
    assert found[0] == ["a-0", "a-2"]
    assert found[1] == ["a-1", "b-0", "d-0"]
    assert (found[2], found[-6]) == (["b-1"], ["c-0"])
    # Without a time it is that at which the file was seen.
    (late,) = set(found) - {0, 1, 2, -6}
    assert found[late] == ["c-1"] and START + late * HOUR >= before - 2 * HOUR
    assert verify_stream(str(tmp_path / "stream")).problems == ()


def test_bad_times_are_dead_letters_with_the_reason(tokenizer_directory: str, tmp_path: Path) -> None:
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    bad = ["yesterday", True, [1], 1e300, ahead.isoformat()]
    write_lines(tmp_path / "incoming" / "a.jsonl", START, *bad, "", None)
    follow(recipe_of(tmp_path, tokenizer_directory))
    stream = tmp_path / "stream"
    assert sum(fragment.counts.get("dead_lettered", 0) for fragment in chain(stream)) == len(bad)
    letters = [
        json.loads(line)
        for fragment in chain(stream)
        if "deadletter" in fragment.side
        for line in gzip.decompress((stream / fragment.side["deadletter"].name).read_bytes()).splitlines()
    ]
    reasons = sorted(letter["reason"] for letter in letters)
    assert (
        sum("must be ISO 8601, or seconds or milliseconds since 1970, 'published' is" in reason for reason in reasons)
        == 4
    )
    assert sum("may be a day ahead of the clock" in reason for reason in reasons) == 1
    # One of 0 is 1970.
    write_lines(tmp_path / "incoming" / "b.jsonl", 0)
    follow(recipe_of(tmp_path, tokenizer_directory))
    assert chain(stream)[-1].window_start == 0


def test_what_lies_there_together_is_late_in_no_order(tokenizer_directory: str, tmp_path: Path) -> None:
    """The newest file is read first; what comes afterwards for a window that was closed is late."""
    for name, hour in (("a", 9), ("b", 0), ("c", 5)):
        write_lines(tmp_path / "incoming" / f"{name}.jsonl", *(START + hour * HOUR + 60 * n for n in range(3)))
    follow(recipe_of(tmp_path, tokenizer_directory))
    assert windows(tmp_path / "stream").keys() == {0, 5, 9}
    assert not any(fragment.counts.get("documents_late") for fragment in chain(tmp_path / "stream"))


def test_many_open_windows_are_committed_in_part_before_they_fill_the_memory(
    tokenizer_directory: str, tmp_path: Path
) -> None:
    for number in range(8):
        write_lines(tmp_path / "incoming" / f"{number}.jsonl", *(START + hour * HOUR for hour in range(60)))
    most = []

    def show(progress: object, fragment: object) -> None:
        # Behind each micro-batch, not between two panes of it.
        if fragment is None:
            most.append(progress.open_bytes)  # type: ignore[attr-defined]

    follow(recipe_of(tmp_path, tokenizer_directory, max_pane_mb=0.005), show=show)
    assert {fragment.timing for fragment in chain(tmp_path / "stream")} >= {"early"}
    assert max(most) < 4 * 5000 + 1
    counts = sum(fragment.counts["documents_in"] for fragment in chain(tmp_path / "stream"))
    assert counts == 480


def test_the_watermark_stands_still_while_files_are_read_and_then_is_the_newest_time(tmp_path: Path) -> None:
    now = [float(START + 100 * HOUR)]
    write_lines(tmp_path / "in" / "a.jsonl", START + HOUR, START)
    reading, watch = ReadSettings((str(tmp_path / "in"),)), WatchSettings(settle_seconds=0)
    reader = FolderSource(reading, watch, now=lambda: now[0], times=TIMED).create_reader(None, None)
    assert reader.start()
    before = reader.get_watermark()
    assert reader.advance() and reader.get_watermark() == before
    assert not reader.advance()
    assert reader.get_watermark().seconds() == START + HOUR
    now[0] += 60
    assert reader.get_watermark().seconds() == now[0] - 10
    # What comes behind it is late; the watermark does not go back.
    write_lines(tmp_path / "in" / "b.jsonl", START)
    assert reader.advance()
    assert reader.get_watermark().seconds() == now[0] - 10


def test_lines_of_standard_input_have_times_too() -> None:
    end, begin = os.pipe()
    lines = [{"text": "one", "published": START}, {"text": "two", "published": "soon"}, {"text": "three"}]
    os.write(begin, "".join(json.dumps(line) + "\n" for line in lines).encode() + b"plain text\n")
    source = StandardInputSource(ReadSettings(("-",)), end, lambda: START + HOUR, TIMED)
    reader = source.create_reader(None, None)
    times = []
    while reader.advance():
        times.append(reader.get_current().event_time // 1000 - START)
    assert times == [0, HOUR, HOUR, HOUR]
    assert reader.get_watermark().seconds() == START
    os.close(begin)
    os.close(end)


@pytest.mark.parametrize("kind", ["files", "stdin"])
def test_files_and_lines_take_the_settings_of_times(kind: str) -> None:
    assert SourceSettings(kind, time_key="at", disorder_seconds=5, idle_seconds=1).time_key == "at"
