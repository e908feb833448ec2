"""Two workers follow one stream: they take the same heads, train as one does, go on exactly after both were killed."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from grammar import sentences
from processes import Child, finished, free_ports, started
from streams import begin, document, pane

from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, read_metrics
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.streaming.commit_pane import Committer, freeze
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

pytestmark = pytest.mark.slow

CONFIG = """\
dataset: {stream}
directory: {directory}
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32, dropout: 0.1}}
follow: {{replay: 0.25, warmup_steps: 4, poll_seconds: 0.1, tail_seconds: 0, window_rows: 8}}
train: {{steps: 400, global_batch_size: 8, micro_batch_size: 4, xla: false, steps_per_loop: 2}}
optimizer: {{learning_rate: 0.01, schedule: constant}}
evaluate: {{every_steps: 1000, max_rows: 8}}
checkpoint: {{every_steps: 3}}
"""


def add_window(directory: Path, tokenizer: BertTokenizer, window: int) -> None:
    stream = begin(directory, tokenizer)
    documents = [
        document(number, " ".join(sentences(number, 4))) for number in range(1000 * window, 1000 * window + 50)
    ]
    Committer(stream).commit(freeze(stream, pane(tokenizer, documents, window)).name)


def entries(directory: Path, *kinds: str) -> list[dict[str, Any]]:
    if not (directory / METRICS_FILE).exists():
        return []
    found = read_metrics(directory / METRICS_FILE)
    return [
        {name: value for name, value in one.items() if name not in MEASURED} for one in found if one["kind"] in kinds
    ]


def wait_for_head(directory: Path, number: int, worker: Child) -> None:
    """Until a step was made with the rows of a fragment."""
    end = time.monotonic() + 300
    while True:
        heads = [one["step"] for one in entries(directory, "window") if one["fragment"] >= number]
        if heads and any(one["step"] > heads[0] for one in entries(directory, "train")):
            return
        assert worker.process.poll() is None and time.monotonic() < end, worker.output()
        time.sleep(0.02)


def arguments_of(stream: Path, directory: Path, *changes: str) -> tuple[str, ...]:
    path = directory.with_suffix(".yaml")
    path.write_text(CONFIG.format(stream=stream, directory=directory))
    return ("-m", "clozekit.deploy.cli", "train", str(path), *changes)


def start_two(stack: ExitStack, arguments: tuple[str, ...]) -> list[Child]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in (0, 1)]
    return [stack.enter_context(started(*arguments, TF_CONFIG=json.dumps(task))) for task in tasks]


def test_two_workers_take_heads_as_windows_come_and_go_on_exactly_when_both_were_killed(
    tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    stream, run, peace, alone = (tmp_path / name for name in ("stream", "run", "peace", "alone"))
    add_window(stream, tokenizer, 0)
    with ExitStack() as stack:
        workers = start_two(stack, arguments_of(stream, run))
        wait_for_head(run, 0, workers[0])
        # They wait for it, and take it while they run.
        add_window(stream, tokenizer, 1)
        wait_for_head(run, 1, workers[0])
        for worker in workers:
            worker.kill()
    assert not any(one["fragment"] > 1 for one in entries(run, "window"))
    add_window(stream, tokenizer, 2)
    with ExitStack() as stack:
        finished(*start_two(stack, arguments_of(stream, run, "follow.idle_seconds=0")))
    heads = [one["fragment"] for one in entries(run, "window")]
    assert heads == [0, 1, 2]
    # Two that nobody killed, over the same heads: the same to the last bit.
    with ExitStack() as stack:
        finished(*start_two(stack, arguments_of(stream, peace, f"follow.heads={heads}")))
    for kind in ("window", "train"):
        assert entries(run, kind) == entries(peace, kind)
    # And one process alone, in micro-batches of a worker's share, whose dropout is theirs: sums differ by their rounding.
    config = Path(arguments_of(stream, alone)[3])
    Run(load_config(config, [f"follow.heads={heads}"])).train()
    for kind in ("window", "train"):
        for one, other in zip(entries(run, kind), entries(alone, kind), strict=True):
            assert (one.pop("kind"), one["step"]) == (other.pop("kind"), other["step"])
            assert one == pytest.approx(other, rel=0.02, abs=0.02), kind
