"""Stage A: late, early, out-of-order, doubled, replayed and poisoned records, and the same bytes on every engine."""

from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.transforms.window import IntervalWindow
from apache_beam.utils.windowed_value import PANE_INFO_UNKNOWN
from engine_streams import POISON, WINDOWS, check_same_panes, follow, numbered, twin
from portable_engine import portable_engine
from scripted_source import Script, ScriptedSource, as_test_stream
from streams import EXACT, ROWS, WINDOW, begin, chain_bytes

from clozekit.pipelines.dataset.chain import Fragment, read_chain
from clozekit.pipelines.settings.stream_recipe import make_stream_recipe
from clozekit.pipelines.storage.files import join, read_bytes
from clozekit.pipelines.streaming.commit_pane import Committer, waiting_panes
from clozekit.pipelines.streaming.open_stream import open_stream
from clozekit.pipelines.streaming.pane import read_pane
from clozekit.pipelines.streaming.stage_a import FreezePanes, _FreezePane, freeze_source
from clozekit.pipelines.streaming.verify_stream import verify_stream
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

pytestmark = pytest.mark.slow


def commit_now(name: str, directory: str) -> str:
    """Commits as soon as it is frozen, so that the chain has the order of the firings."""
    Committer(open_stream(directory)).commit(name)
    return name


def run_test_stream(script: Script, directory: str) -> list[Fragment]:
    options = PipelineOptions(streaming=True)
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as root:
        names = root | as_test_stream(script) | FreezePanes(directory, WINDOWS, EXACT, ROWS)
        names | beam.Map(commit_now, directory)
    assert verify_stream(directory).problems == ()
    return list(read_chain(directory))


def told(directory: str, fragments: list[Fragment]) -> list[tuple[int, str, list[str], dict[str, int]]]:
    """Of each fragment its window, timing, the origins of its pane, and what was counted, but for pieces and splits."""
    found = []
    for fragment in fragments:
        name = join(directory, fragment.frozen.name)
        origins = sorted(read_pane(read_bytes(name), name).documents.column("origin").to_pylist())
        counts = {key: value for key, value in fragment.counts.items() if value and not key.startswith("pieces")}
        kept = sum(counts.pop(f"documents_{split}", 0) for split in ("train", "validation"))
        counts["kept"] = kept
        found.append((fragment.window_start // WINDOW, fragment.timing, origins, counts))
    return found


def origins(*numbers: int) -> list[str]:
    return sorted(f"source/{number}" for number in numbers)


# Name -> script, and of each fragment: window, timing, origins, counts.
CASES: dict[str, tuple[Script, list[tuple[int, str, list[str], dict[str, int]]]]] = {
    "on time, arriving out of order": (
        [numbered(4, 6, 700), numbered(0, 2, 10), numbered(2, 4, 599), 600, 1200],
        [
            (0, "on_time", origins(0, 1, 2, 3), {"documents_in": 4, "kept": 4}),
            (1, "on_time", origins(4, 5), {"documents_in": 2, "kept": 2}),
        ],
    ),
    "late, by one and by two": (
        [numbered(0, 2, 10), 600, numbered(2, 3, 20), 700, numbered(3, 5, 30), numbered(5, 6, 650), 1200],
        [
            (0, "on_time", origins(0, 1), {"documents_in": 2, "kept": 2}),
            (0, "late", origins(2), {"documents_in": 1, "kept": 1}),
            (0, "late", origins(3, 4), {"documents_in": 2, "kept": 2}),
            (1, "on_time", origins(5), {"documents_in": 1, "kept": 1}),
        ],
    ),
    "late beyond the limit of the stream": (
        [numbered(0, 1, 200 * 86_400), 201 * 86_400, numbered(1, 2, 10)],
        [
            (28_800, "on_time", origins(0), {"documents_in": 1, "kept": 1}),
            (0, "late", origins(1), {"documents_in": 1, "documents_late": 1, "kept": 0}),
        ],
    ),
    "twice in a window, and replayed in another": (
        [[*numbered(0, 3, 10), *numbered(1, 2, 10)], 600, numbered(0, 4, 610), 1200],
        [
            (0, "on_time", origins(0, 1, 1, 2), {"documents_in": 3, "redelivered": 1, "kept": 3}),
            (1, "on_time", origins(0, 1, 2, 3), {"documents_in": 1, "redelivered": 3, "kept": 1}),
        ],
    ),
    "a jump of the watermark over empty windows": (
        [numbered(0, 1, 10), 50 * WINDOW, numbered(1, 2, 60 * WINDOW), 70 * WINDOW],
        [
            (0, "on_time", origins(0), {"documents_in": 1, "kept": 1}),
            (60, "on_time", origins(1), {"documents_in": 1, "kept": 1}),
        ],
    ),
    "a window of only duplicates": (
        [numbered(0, 2, 10), 600, [twin(8, 0, 610), twin(9, 1, 610)], 1200],
        [
            (0, "on_time", origins(0, 1), {"documents_in": 2, "kept": 2}),
            (1, "on_time", origins(8, 9), {"documents_in": 2, "duplicates_exact": 2, "kept": 0}),
        ],
    ),
    "a poisoned message": (
        [[*numbered(0, 2, 1), POISON], 600],
        [(0, "on_time", sorted([*origins(0, 1), "topic/7"]), {"documents_in": 3, "dead_lettered": 1, "kept": 2})],
    ),
    "nothing but a poisoned message": (
        [[POISON], 600],
        [(0, "on_time", ["topic/7"], {"documents_in": 1, "dead_lettered": 1, "kept": 0})],
    ),
    "nothing at all": ([600, 1200], []),
}


@pytest.mark.parametrize("name", CASES)
def test_every_fragment_holds_what_arrived_and_the_embedded_driver_makes_the_same_bytes(
    name: str, tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    script, expected = CASES[name]
    one, other = str(tmp_path / "graph"), str(tmp_path / "followed")
    begin(one, tokenizer, windows=WINDOWS)
    fragments = run_test_stream(script, one)
    assert told(one, fragments) == expected
    assert told(other, follow(script, other, tokenizer)) == expected
    assert chain_bytes(one) == chain_bytes(other)


@pytest.fixture(scope="module")
def portable_arguments() -> Iterator[list[str]]:
    with portable_engine() as arguments:
        yield arguments


def test_a_job_service_freezes_the_same_panes(
    tmp_path: Path, tokenizer: BertTokenizer, portable_arguments: list[str]
) -> None:
    check_same_panes(["--runner=PortableRunner", *portable_arguments], tmp_path, tokenizer)


@pytest.mark.parametrize(
    "more", [[], ["--finish_bundle_before_checkpointing", "--environment_cache_millis=0"]], ids=["refused", "taken"]
)
def test_checkpoints_need_finished_bundles(more: list[str], tmp_path: Path, tokenizer_directory: str) -> None:
    fields = {"tokenizer": tokenizer_directory, "output": str(tmp_path / "stream"), "read": {"inputs": [str(tmp_path)]}}
    recipe = make_stream_recipe({**fields, "rows": {"sequence_length": 32}}, "the recipe")
    root = beam.Pipeline(options=PipelineOptions(["--checkpointing_interval=1000", *more]))
    if more:
        freeze_source(root, recipe, ScriptedSource([]))
        return
    with pytest.raises(InputError, match="needs --finish_bundle_before_checkpointing too"):
        freeze_source(root, recipe, ScriptedSource([]))
    kept = ["--checkpointing_interval=1000", "--finish_bundle_before_checkpointing", "--environment_cache_millis=60000"]
    with pytest.raises(InputError, match="keeps no workers, got --environment_cache_millis=60000; leave it out"):
        freeze_source(beam.Pipeline(options=PipelineOptions(kept)), recipe, ScriptedSource([]))
    assert not (tmp_path / "stream").exists()


@pytest.mark.parametrize("runner", ["FlinkRunner", "PrismRunner", "PortableRunner"])
def test_pubsub_is_refused_by_engines_that_lose_what_they_acknowledged(
    runner: str, tmp_path: Path, tokenizer_directory: str
) -> None:
    source = {"kind": "pubsub", "subscription": "projects/p/subscriptions/s"}
    fields = {"tokenizer": tokenizer_directory, "output": str(tmp_path / "stream"), "source": source}
    recipe = make_stream_recipe({**fields, "rows": {"sequence_length": 32}}, "the recipe")
    root = beam.Pipeline(options=PipelineOptions([f"--runner={runner}"]))
    with pytest.raises(InputError, match=f"runs on Dataflow alone, got {runner}, .* `clozekit stream` on one machine"):
        freeze_source(root, recipe, ScriptedSource([]))
    assert not (tmp_path / "stream").exists()


@pytest.mark.parametrize("runner", ["FlinkRunner", "PrismRunner"])
def test_prism_is_told_not_to_split_sources(runner: str, tmp_path: Path, tokenizer_directory: str) -> None:
    fields = {"tokenizer": tokenizer_directory, "output": str(tmp_path / "stream"), "read": {"inputs": [str(tmp_path)]}}
    recipe = make_stream_recipe({**fields, "rows": {"sequence_length": 32}}, "the recipe")
    root = beam.Pipeline(options=PipelineOptions([f"--runner={runner}"]))
    freeze_source(root, recipe, ScriptedSource([]))
    is_told = root.options.view_as(DebugOptions).lookup_experiment("prism_disable_sdf_split", default=False)
    assert is_told == (runner == "PrismRunner")


def test_a_firing_without_documents_freezes_nothing(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    """Flink fires so, at the end of a window that has fired."""
    directory = str(tmp_path / "stream")
    stream = begin(directory, tokenizer, windows=WINDOWS)
    freezing = _FreezePane(directory)
    freezing.setup()
    assert list(freezing.process((b"", []), IntervalWindow(0, WINDOW), PANE_INFO_UNKNOWN)) == []
    assert waiting_panes(stream) == []
