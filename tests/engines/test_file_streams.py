"""Streams of folders on Prism and, by `submit flink` and with checkpoints, on Flink: each document in exactly one fragment."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from engine_messages import message, running, wait_for_documents
from flink_cluster import FlinkCluster, WorkerPools

from clozekit.deploy.cli.main import main
from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.settings.stream_recipe import StreamRecipe, load_stream_recipe
from clozekit.pipelines.streaming.follow_panes import follow_panes
from clozekit.pipelines.streaming.follow_recipe import follow
from clozekit.pipelines.streaming.verify_stream import verify_stream

A_FILE, FILES_A_WINDOW = 40, 2
A_WINDOW = A_FILE * FILES_A_WINDOW


def add_window(folder: Path, window: int) -> None:
    """Its files, each there at once and whole."""
    for number in range(FILES_A_WINDOW):
        first = A_WINDOW * window + A_FILE * number
        lines = b"\n".join(message(one, window) for one in range(first, first + A_FILE))
        path = folder / f"{first:06}.jsonl"
        path.with_suffix(".new").write_bytes(lines + b"\n")
        path.with_suffix(".new").rename(path)


def recipe_in(folder: Path, tokenizer_directory: str, inputs: Path, name: str) -> Path:
    recipe = {
        "tokenizer": tokenizer_directory,
        "output": str(folder / name),
        "read": {"inputs": [f"{inputs}/*.jsonl"]},
        # Only what comes moves the watermark: each window is closed by what comes behind it.
        "source": {"time_key": "time", "idle_seconds": 86_400, "disorder_seconds": 0},
        "rows": {"sequence_length": 32},
        "stream": {"window_seconds": 60, "time_to_live_seconds": 3600, "settle_seconds": 0, "poll_seconds": 0.2},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@contextmanager
def committing(recipe: StreamRecipe) -> Iterator[None]:
    stop = threading.Event()
    given = {"args": (recipe.output, True, stop.is_set), "kwargs": {"poll_seconds": 0.2}}
    committer = threading.Thread(target=follow_panes, daemon=True, **given)  # type: ignore[arg-type]
    committer.start()
    try:
        yield
    finally:
        stop.set()
        committer.join()


def told(fragments: list[Fragment]) -> list[tuple[int, str, int, dict[str, list[str]]]]:
    """Of each fragment its window, timing, documents, and the sha256 of its shards."""
    return [
        (
            one.window_start,
            one.timing,
            one.counts["documents_in"],
            {name: [shard.sha256 for shard in split.shards] for name, split in one.splits.items()},
        )
        for one in fragments
    ]


def test_a_stream_of_files_that_is_submitted_survives_a_task_manager(
    flink: tuple[FlinkCluster, WorkerPools],
    flink_arguments: list[str],
    tokenizer_directory: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster, pools = flink
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    path = recipe_in(tmp_path, tokenizer_directory, incoming, "engine")
    recipe = load_stream_recipe(str(path), [])
    endpoint = flink_arguments[0].partition("=")[2]
    settings = {"rest_address": cluster.master, "job_endpoint": endpoint, "environment": pools.address}
    job = tmp_path / "job.yaml"
    flink_settings = {**settings, "checkpoint_seconds": 1}
    job.write_text(yaml.safe_dump({"name": "files", "num_workers": 2, "flink": flink_settings}), encoding="utf-8")
    for window in range(3):
        add_window(incoming, window)
    words = ["submit", "flink", str(job), "--", "stream", str(path)]
    assert main(words) == 0
    # It is sent once.
    assert main(words) == 0
    assert "already submitted, nothing is sent" in capsys.readouterr().err
    with committing(recipe):
        wait_for_documents(recipe, 2 * A_WINDOW)
        cluster.task_managers[0].kill()
        cluster.add_task_manager()
        for window in range(3, 5):
            add_window(incoming, window)
        fragments = wait_for_documents(recipe, 4 * A_WINDOW)
    assert cluster.failures() > 0
    assert main(["submit", "cancel", "flink", str(job)]) == 0
    capsys.readouterr()
    assert main(["submit", "status", "flink", str(job), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "cancelled"
    check_followed(recipe, fragments, tokenizer_directory, incoming)


def test_prism_follows_a_folder(prism_program: Path, tokenizer_directory: str, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    recipe = load_stream_recipe(str(recipe_in(tmp_path, tokenizer_directory, incoming, "engine")), [])
    add_window(incoming, 0)
    # A Prism of its own, which the fixture of job servers ends.
    prism = [f"--prism_location={prism_program}", "--experiments=disable_prism_server_singleton"]
    with running(recipe, "PrismRunner", prism) as job:
        for window in range(1, 5):
            add_window(incoming, window)
            fragments = wait_for_documents(recipe, window * A_WINDOW)
        job.cancel()
    check_followed(recipe, fragments, tokenizer_directory, incoming)


def check_followed(recipe: StreamRecipe, fragments: list[Fragment], tokenizer_directory: str, incoming: Path) -> None:
    """Four windows, with the shards that the embedded driver makes of the same files."""
    path = recipe_in(Path(recipe.output).parent, tokenizer_directory, incoming, "followed")
    other = load_stream_recipe(str(path), [])
    follow(other, is_stopped=lambda: sum(one.counts["documents_in"] for one in _chain(other)) >= 4 * A_WINDOW)
    assert told(fragments) == told(_chain(other)[:4])
    assert [fragment.timing for fragment in fragments] == ["on_time"] * 4
    assert verify_stream(recipe.output).problems == ()


def _chain(recipe: StreamRecipe) -> list[Fragment]:
    return list(read_chain(recipe.output)) if Path(recipe.output, "stream.json").exists() else []
