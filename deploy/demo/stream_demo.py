"""The streaming demo: text dropped into a folder, a stream that takes it in, a run that follows, and what came of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clozekit.deploy.demo.run_demo import CORPUS_FILE, make_corpus, make_tokenizer
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.pipelines.dataset.chain import head_number
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.pipelines.settings.stream_recipe import load_stream_recipe
from clozekit.pipelines.storage.files import list_names
from clozekit.pipelines.streaming.follow_recipe import follow
from clozekit.pipelines.streaming.look_at_stream import list_lines
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.settings.settings_files import check
from clozekit.tokenizers.storage.file_systems import write_text
from clozekit.tokenizers.storage.owned_files import Owned, check_free, check_own_folder, write_owned

MINUTES = 4.0
# A file a second with so many documents, which is what two cores train on meanwhile.
DOCUMENTS_A_FILE = 12
RECIPE_FILE, CONFIG_FILE, INCOMING = "stream.yaml", "follow.yaml", "incoming"
RECIPE = """\
# The demo's stream: windows of 15 seconds of what is dropped into a folder.
tokenizer: {tokenizer}
output: {stream}
read: {{inputs: [{incoming}]}}
clean: {{unicode: true}}
deduplicate: {{kind: exact}}
rows: {{sequence_length: 64, validation_rate: 0.1}}
stream: {{window_seconds: 15, settle_seconds: 0, poll_seconds: 0.5}}
"""
CONFIG = """\
# The demo's run: a small BERT that follows the stream, a quarter of each batch from windows before.
dataset: {stream}
directory: {run}
follow: {{replay: 0.25, warmup_steps: 50, poll_seconds: 1, idle_seconds: 30}}
model: {{num_layers: 2, num_heads: 4, hidden_dim: 128, intermediate_dim: 512, dropout: 0.0}}
train: {{steps: 100000, global_batch_size: 8, steps_per_loop: 20}}
optimizer: {{learning_rate: 0.002, schedule: constant}}
evaluate: {{every_steps: 50, max_rows: 256}}
checkpoint: {{every_steps: 200}}
"""


def run_stream_demo(directory: Path, minutes: float | None) -> None:
    """Drops text into a folder for so many minutes while a stream takes it in and a run follows; ends with the report."""
    minutes = MINUTES if minutes is None else minutes
    check("--minutes must be above 0 and at most 1440", 0 < minutes <= 1440, minutes)
    _claim(directory)
    _stage(1, "corpus and vocabulary: Python's documentation, as in `clozekit demo`")
    make_corpus(directory / CORPUS_FILE)
    make_tokenizer(ReadSettings((os.path.abspath(directory / CORPUS_FILE),)), directory / "tokenizer")
    _stage(2, f"stream: windows of 15 seconds of what is dropped into {directory / INCOMING}, for {minutes:g} minutes")
    names = {name: directory / name for name in ("tokenizer", "stream", "run", INCOMING)}
    write_text(directory / RECIPE_FILE, RECIPE.format(**names))
    write_text(directory / CONFIG_FILE, CONFIG.format(**names))
    (directory / INCOMING).mkdir(exist_ok=True)
    with _following(directory) as process, _dropping(directory, minutes) as dropper:
        while head_number(str(directory / "stream")) < 0 and process.poll() is None:
            time.sleep(0.2)
        _stage(3, "training follows: new windows first; the loss on each is measured before it is trained on")
        load_tensorflow()
        run = _train(directory)
        dropper.join()
    # What was dropped behind the last window.
    follow(load_stream_recipe(str(directory / RECIPE_FILE), ["stream.until_idle=true"]))
    _stage(4, "results")
    _show(directory, run)


def _claim(directory: Path) -> None:
    """Notes what of the directory is the demo's own. Raises InputError where something else is in the way."""
    from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory

    names, choose = (RECIPE_FILE, CONFIG_FILE, CORPUS_FILE), "pass another --directory"
    check_free("the demo", directory, names, choose)
    check_own_folder("the demo's folder", directory / INCOMING, _is_ours, choose, directory)
    check_run_directory(str(directory / "run"), TRAIN)
    write_owned(directory, Owned("demo", frozenset(names)))


def _is_ours(name: str) -> bool:
    return name.removesuffix(".jsonl").isdecimal() and name.endswith(".jsonl")


def _stage(number: int, text: str) -> None:
    print(f"\n[{number}/4] {text}", flush=True)


@contextmanager
def _following(directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`clozekit stream` in a process of its own, which is told to end behind the block."""
    command = [sys.executable, "-m", "clozekit.deploy.cli", "stream", str(directory / RECIPE_FILE)]
    with open(directory / "stream.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def _dropping(directory: Path, minutes: float) -> Iterator[threading.Thread]:
    """Drops a file of documents into the folder each second, beside what the block does; goes on where it stopped."""
    ended = threading.Event()

    def drop() -> None:
        corpus = (directory / CORPUS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
        first = len(list_names(str(directory / INCOMING)))
        for number in range(first, first + max(1, round(60 * minutes))):
            lines = corpus[number * DOCUMENTS_A_FILE : (number + 1) * DOCUMENTS_A_FILE]
            if not lines or ended.wait(1.0):
                return
            write_text(directory / INCOMING / f"{number:06d}.jsonl", "".join(lines))

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join()


def _train(directory: Path) -> Any:
    from clozekit.model.training.controller import Run
    from clozekit.model.training.reports.pretraining_report import write_run_report

    run = Run(str(directory / CONFIG_FILE))
    write_run_report(run, run.train())
    return run


def _show(directory: Path, run: Any) -> None:
    for line in list_lines(str(directory / "stream")):
        print(f"  {line}")
    verified = verify_stream(str(directory / "stream"))
    print(
        f"  {verified.num_documents:,} documents in {verified.num_fragments} fragments, {len(verified.problems)} problems"
    )
    entries = [json.loads(line) for line in (directory / "run" / "metrics.jsonl").read_text().splitlines()]
    windows = [entry for entry in entries if entry["kind"] == "window"]
    for entry in windows:
        print(
            f"  step {entry['step']:>6,}: loss {entry['loss']:.3f} on {entry['new_rows']:,} new rows before they were trained on"
        )
    print(f"\n  open {directory / 'run' / 'report.html'} in a browser; an ordinary dataset of it:")
    print(f"  {sys.argv[0]} compact {directory / 'stream'} --output {directory / 'dataset'}")
