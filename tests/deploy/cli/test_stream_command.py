"""`clozekit stream` as a user runs it: refusals, the screen, signals, kills, and `compact` in the end."""

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from long_variants import FULL
from processes import Child, started
from run_commands import run_command
from streams import begin, document, pane, total_counts

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.dataset.manifest import read_manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.corpus_settings import CorpusSettings, DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

RECIPE = """\
tokenizer: {tokenizer}
output: {folder}/stream
read: {{inputs: [{folder}/incoming]}}
deduplicate: {{kind: exact}}
rows: {{sequence_length: 32, validation_rate: 0.2}}
stream: {{window_seconds: 2, settle_seconds: 0, poll_seconds: 0.05}}
"""
ONCE = "stream.until_idle=true"


@pytest.fixture
def recipe(tmp_path: Path, tokenizer_directory: str) -> Path:
    (tmp_path / "incoming").mkdir()
    path = tmp_path / "stream.yaml"
    path.write_text(RECIPE.format(tokenizer=tokenizer_directory, folder=tmp_path))
    return path


def drop(folder: Path, numbers: range) -> None:
    """A file with these documents, renamed into the folder."""
    new = folder.parent / "new.jsonl"
    lines = [
        {"id": f"doc-{n}", "text": f"the cat sat on the mat and the dog no. {n} ran over the tree ."} for n in numbers
    ]
    new.write_text("".join(json.dumps(line) + "\n" for line in lines))
    new.rename(folder / f"{numbers.start:06d}.jsonl")


def wait_until(is_so: Callable[[], bool], child: Child) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert child.process.poll() is None and time.monotonic() < deadline, child.output()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (["rows.sequence_length=[32, 64]"], "a stream has rows of one length, .* has rows.sequence_length 32, 64"),
        (["stream.window_seconds=0"], "stream.window_seconds must be from 1 to 8,640,000, got 0"),
        (["stream.windows=5"], "stream.windows"),
        (["read.inputs=[-, more]"], "standard input .* is read alone"),
        (["read.inputs=[-]", "read.input_format=parquet"], "lines of standard input are text or jsonl"),
        (["output=memory://x"], "a local disk or gs://, got memory://x"),
        (["filter.rules={num_wrods: [1, 2]}"], "a rule must name a tag"),
    ],
)
def test_what_a_stream_can_not_be_is_refused_in_one_line(
    recipe: Path, changes: list[str], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", str(recipe), *changes]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rule, line), line
    assert not (recipe.parent / "stream").exists()


@pytest.mark.parametrize("word", ["verify", "list", "inspect", "repair"])
def test_what_is_no_stream_is_not_looked_at(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", word, str(tmp_path)]) == 2
    assert "a stream's directory must hold stream.json" in capsys.readouterr().err
    assert main(["stream", word]) == 2
    assert f"`clozekit stream {word}` takes one stream, got 0" in capsys.readouterr().err


def test_a_folder_is_followed_listed_verified_and_compacted(
    recipe: Path, tokenizer_directory: str, tmp_path: Path
) -> None:
    incoming, stream = tmp_path / "incoming", str(tmp_path / "stream")
    drop(incoming, range(30))
    measures = ["--metrics", str(tmp_path / "m.jsonl"), "--prometheus", str(tmp_path / "m.prom")]
    screen = run_command(["stream", str(recipe), ONCE, *measures])
    assert "30 documents" in screen and "open: 0 windows" in screen
    last = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[-1])
    assert (last["documents_in"], last["dead_letters"], last["open_windows"]) == (30, 0, 0)
    assert "\nclozekit_stream_documents_in 30\n" in (tmp_path / "m.prom").read_text()
    # Appended to, with a bad line: only what is new counts, and what is bad is set aside.
    drop(incoming, range(30, 35))
    with (incoming / "000000.jsonl").open("a") as file:
        file.write('{"id": "doc-99", "text": "the red bird flew over the old house ."}\n{"no json\n')
    assert "1 dead letters" in run_command(["stream", str(recipe), ONCE])
    assert "0 documents" in run_command(["stream", str(recipe), ONCE])
    assert total_counts(stream)["documents_in"] == 37
    assert len(run_command(["stream", "list", stream]).splitlines()) == len(list(read_chain(stream)))
    assert "37 documents" in run_command(["stream", "verify", stream])
    assert "documents_train" in run_command(["stream", "inspect", stream])
    answer = json.loads(run_command(["stream", "verify", stream, "--json"]))
    assert (answer["documents"], answer["whole"], answer["problems"]) == (37, True, [])
    run_command(["compact", stream, "--output", str(tmp_path / "compacted")])
    reading = ReadSettings((str(incoming),), max_bad_rate=1.0)
    rows = PrepareSettings(sequence_length=32, validation_rate=0.2)
    corpus = CorpusSettings(deduplicate=DeduplicateSettings("exact"))
    expected, _ = prepare(reading, rows, tokenizer_directory, str(tmp_path / "batch"), corpus=corpus)
    assert read_manifest(str(tmp_path / "compacted")).dataset_sha256 == expected.dataset_sha256


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--replace", "--last", "3"], "--replace keeps the stream's settings and documents, got --last"),
        (["--replace", "--num-workers", "2"], "got --num-workers"),
        (["--replace", "--max-tokens", "0"], "max_tokens must be at least 1, got 0"),
        (["--output", "x", "--max-tokens", "5"], "--max-tokens is for --replace"),
        (["--replace"], "a stream's directory must hold stream.json"),
    ],
)
def test_what_replacing_windows_has_not_is_refused(
    words: list[str], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compact", str(tmp_path), *words]) == 2
    assert rule in capsys.readouterr().err


def test_windows_are_compacted_in_their_stream_and_pruned(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    directory = str(tmp_path / "stream")
    stream = begin(directory, tokenizer)
    for window in range(4):
        documents = [document(number) for number in range(20 * window, 20 * window + 20)]
        Committer(stream).commit(freeze(stream, pane(tokenizer, documents, window)).name)
        if window == 2:
            assert "compacted: fragments 0 to 2" in run_command(["compact", directory, "--replace"])
            assert "nothing to do" in run_command(["compact", directory, "--replace"])
    prune = ["stream", "prune", directory, "--retain-days", "0", "--panes"]
    planned = run_command([*prune, "--dry-run"]).splitlines()
    assert sum(line.startswith("would remove: frozen/") for line in planned) == 3
    removed = run_command(prune).splitlines()
    assert {line.replace("would remove", "removed") for line in planned[:-1]} <= set(removed)
    assert "pruned: shards before fragment 3, panes before fragment 3" in run_command(["stream", "list", directory])
    assert "80 documents" in run_command(["stream", "verify", directory])
    assert "shards before fragment 3 and panes before 3 pruned" in run_command(["stream", "inspect", directory])
    assert "0 files removed" in run_command(prune)


@pytest.mark.slow
def test_a_signal_makes_the_open_window_safe_and_kills_lose_nothing(recipe: Path, tmp_path: Path) -> None:
    incoming, stream = tmp_path / "incoming", tmp_path / "stream"
    command = ["-m", "clozekit.deploy.cli", "stream", str(recipe), "stream.max_pane_mb=0.02"]
    end = 0
    for kill in range(4 if FULL else 2):
        with started(*command) as child:
            for _ in range(3 + 2 * kill):
                drop(incoming, range(end, end + 40))
                end += 40
            seen = len(list(stream.glob("windows/*.json")))
            wait_until(lambda seen=seen: len(list(stream.glob("windows/*.json"))) > seen, child)
            child.kill()
    with started(*command, "stream.window_seconds=2") as child:
        drop(incoming, range(end, end + 40))
        wait_until(lambda: "documents/s" in child.output() or total_counts(stream)["documents_in"] > end, child)
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == 75
        assert "stopped by SIGTERM, all that was read is committed; run it again to go on" in child.output()
    run_command(["stream", str(recipe), ONCE])
    assert total_counts(stream)["documents_in"] == end + 40
    verified = verify_stream(str(stream))
    assert (verified.problems, verified.num_waiting) == ((), 0)
