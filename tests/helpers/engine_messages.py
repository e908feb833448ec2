"""Messages on engines: a recipe of a broker, stage A of it as a job that goes on, and a committer beside it."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from streams import total_counts

from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.running.runners import runner_options
from clozekit.pipelines.settings.stream_recipe import StreamRecipe, make_stream_recipe
from clozekit.pipelines.streaming.follow_panes import follow_panes
from clozekit.pipelines.streaming.follow_recipe import source_of
from clozekit.pipelines.streaming.stage_a import freeze_source

WAIT_SECONDS = 180
# Event times of the tests begin here; each window is a minute.
FIRST_WINDOW, WINDOW = 1_600_000_020, 60


def message(number: int, window: int) -> bytes:
    """A document of a length of its own, in a window since the first."""
    text = "the old cat sat on the mat . " * (1 + number % 40)
    time_of = FIRST_WINDOW + WINDOW * window + number % WINDOW
    return json.dumps({"id": f"doc-{number}", "text": text, "time": time_of}).encode()


def recipe_of(source: dict[str, Any], tokenizer_directory: str, output: Path) -> StreamRecipe:
    fields = {
        "tokenizer": tokenizer_directory,
        "output": str(output),
        # Only what comes moves the watermark: each window is closed by what comes behind it.
        "source": {"time_key": "time", "idle_seconds": 86_400, "disorder_seconds": 0, **source},
        "rows": {"sequence_length": 32},
        "stream": {"window_seconds": WINDOW, "time_to_live_seconds": 3600},
    }
    return make_stream_recipe(fields, "the recipe")


@contextmanager
def running(recipe: StreamRecipe, runner: str, arguments: Sequence[str]) -> Iterator[Any]:
    """Stage A on an engine, and a committer in this process, which is asked to stop at the end of the block."""
    options = runner_options(runner, 1, ["--streaming", *arguments])
    root = beam.Pipeline(options=options)
    freeze_source(root, recipe, source_of(recipe))
    job = root.run()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        committer = threads.submit(follow_panes, recipe.output, True, stop.is_set, poll_seconds=0.2)
        try:
            yield job
        finally:
            stop.set()
            # What went wrong there is why nothing came.
            committer.result()


def wait_for_documents(recipe: StreamRecipe, number: int) -> list[Fragment]:
    """The chain, once so many documents that were not delivered before are in it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while total_counts(recipe.output)["documents_in"] < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{total_counts(recipe.output)['documents_in']} of {number} documents came")
        time.sleep(0.2)
    return list(read_chain(recipe.output))
