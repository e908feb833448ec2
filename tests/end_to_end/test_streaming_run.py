"""A stream that is fed, killed and followed by a run that is killed: every document once, the batch build, the undisturbed course.

Twenty seconds by default; CLOZEKIT_FULL=1 takes ten minutes at 200 documents a second, and some more to build all of it again.
"""

import faulthandler
import json
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from grammar import sentences
from long_variants import FULL
from processes import Child, started
from run_commands import run_command
from streams import total_counts

from clozekit.model.training.run_directory.run_log import MEASURED
from clozekit.pipelines.dataset.chain import read_chain
from clozekit.pipelines.dataset.manifest import read_manifest
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.corpus_settings import CleanSettings, CorpusSettings, DeduplicateSettings
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.streaming.verify_stream import verify_stream

pytestmark = pytest.mark.slow

SECONDS = 600 if FULL else 20
DOCUMENTS_A_SECOND = 200
RECIPE = """\
tokenizer: {tokenizer}
output: {folder}/stream
read: {{inputs: [{folder}/incoming]}}
clean: {{unicode: true}}
deduplicate: {{kind: exact}}
rows: {{sequence_length: 64, validation_rate: 0.1}}
stream: {{window_seconds: 2, settle_seconds: 0, poll_seconds: 0.1, max_pane_mb: 1}}
"""
CONFIG = """\
dataset: {folder}/stream
directory: {folder}/{run}
follow: {{replay: 0.25, warmup_steps: 10, poll_seconds: 0.2, idle_seconds: {idle}, window_rows: 64}}
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32}}
train: {{steps: 1000000, global_batch_size: 32, xla: false, steps_per_loop: 5}}
optimizer: {{learning_rate: 0.005, schedule: constant}}
evaluate: {{every_steps: 20, max_rows: 64}}
checkpoint: {{every_steps: 10}}
"""


def drop_all(folder: Path) -> None:
    """A file of documents each second, the last tenth of each again in the next one."""
    began = time.monotonic()
    for second in range(SECONDS):
        first = max(0, second * DOCUMENTS_A_SECOND - DOCUMENTS_A_SECOND // 10)
        numbers = range(first, (second + 1) * DOCUMENTS_A_SECOND)
        # Sentences come again, documents do not.
        lines = [{"id": f"doc-{n}", "text": f"{' '.join(sentences(n, 3))} {n:b}"} for n in numbers]
        new = folder.parent / "new.jsonl"
        new.write_text("".join(json.dumps(line) + "\n" for line in lines))
        new.rename(folder / f"{second:06d}.jsonl")
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))


def entries(run: Path, *kinds: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines if line["kind"] in kinds]


def wait_for_more(folder: Path, pattern: str, child: Child, feeder: threading.Thread) -> None:
    """Until there is one more file of that kind, or nothing is dropped any more."""
    before = len(list(folder.glob(pattern)))
    while len(list(folder.glob(pattern))) == before and feeder.is_alive():
        assert child.process.poll() is None, child.output()
        time.sleep(0.05)


def wait_for_time(incoming: Path, share: float, feeder: threading.Thread) -> None:
    """Until so much of the time is over."""
    while len(list(incoming.iterdir())) < share * SECONDS and feeder.is_alive():
        time.sleep(0.05)


def test_a_stream_and_a_run_that_are_killed_lose_and_double_nothing(tokenizer_directory: str, tmp_path: Path) -> None:
    if FULL:
        # It is longer than a test that hangs may take.
        faulthandler.cancel_dump_traceback_later()
    incoming, stream, run = tmp_path / "incoming", tmp_path / "stream", tmp_path / "run"
    incoming.mkdir()
    (tmp_path / "stream.yaml").write_text(RECIPE.format(tokenizer=tokenizer_directory, folder=tmp_path))
    (tmp_path / "follow.yaml").write_text(CONFIG.format(folder=tmp_path, run="run", idle="null"))
    follow_stream = ("-m", "clozekit.deploy.cli", "stream", str(tmp_path / "stream.yaml"))
    follow_run = ("-m", "clozekit.deploy.cli", "train", str(tmp_path / "follow.yaml"))
    feeder = threading.Thread(target=drop_all, args=(incoming,))
    feeder.start()
    for kill in range(3):
        with started(*follow_stream) as streaming, ExitStack() as beside:
            wait_for_more(stream, "windows/*.json", streaming, feeder)
            # A run follows meanwhile, twice until it is killed.
            if kill:
                training = beside.enter_context(started(*follow_run))
                wait_for_more(run, "checkpoints/*/state.json", training, feeder)
            wait_for_time(incoming, (kill + 1) / 4, feeder)
            if kill:
                training.kill()
            streaming.kill()
    with started(*follow_stream) as streaming, started(*follow_run):
        wait_for_more(stream, "windows/*.json", streaming, feeder)
        feeder.join()
        # Before that it does not mind signals.
        while "following" not in streaming.output():
            time.sleep(0.05)
        streaming.process.send_signal(signal.SIGTERM)
        assert streaming.ended() == 75
    run_command(["stream", str(tmp_path / "stream.yaml"), "stream.until_idle=true"])
    # Every document is in one fragment.
    counts = total_counts(stream)
    assert counts["documents_in"] == SECONDS * DOCUMENTS_A_SECOND
    verified = verify_stream(str(stream))
    assert (verified.problems, verified.num_waiting) == ((), 0)
    # The batch build of all that was dropped, its duplicates taken out.
    run_command(["compact", str(stream), "--output", str(tmp_path / "compacted")])
    corpus = CorpusSettings(CleanSettings(unicode=True), deduplicate=DeduplicateSettings("exact"))
    rows = PrepareSettings(sequence_length=64, validation_rate=0.1)
    expected, _ = prepare(
        ReadSettings((str(incoming),)), rows, tokenizer_directory, str(tmp_path / "batch"), corpus=corpus
    )
    assert read_manifest(str(tmp_path / "compacted")).dataset_sha256 == expected.dataset_sha256
    # The run, to the end of the stream; and one that was left in peace, over the same heads.
    run_command(["train", str(tmp_path / "follow.yaml"), "follow.idle_seconds=0"])
    heads = [entry["fragment"] for entry in entries(run, "window")]
    assert heads[-1] == len(list(read_chain(str(stream)))) - 1
    (tmp_path / "peace.yaml").write_text(CONFIG.format(folder=tmp_path, run="peace", idle="null"))
    run_command(["train", str(tmp_path / "peace.yaml"), f"follow.heads={heads}"])
    for kind in ("window", "train"):
        assert entries(run, kind) == entries(tmp_path / "peace", kind)
