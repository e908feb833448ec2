"""Engines: the same dataset on every runner that is real here, and a graph that holds nothing the others lack."""

import base64
import bz2
import dataclasses
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    WorkerOptions,
)
from apache_beam.portability.api import beam_runner_api_pb2 as protocol
from apache_beam.runners.pipeline_context import PipelineContext
from portable_engine import portable_engine
from whole_graph import OPTIONS, every_stage, two_sources

from clozekit.deploy.cli.parser import parse
from clozekit.pipelines.build_datasets import build_graph
from clozekit.pipelines.prepare import describe_build, describe_tokenizer, prepare, select_files
from clozekit.pipelines.reading.read_documents import find_sources
from clozekit.pipelines.rows.make_dataset import Target
from clozekit.pipelines.running.block_store import BlockStore
from clozekit.pipelines.running.runners import runner_options
from clozekit.pipelines.settings.corpus_settings import CorpusSettings
from clozekit.pipelines.settings.prepare_settings import ReadSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def portable_arguments() -> Iterator[list[str]]:
    with portable_engine() as arguments:
        yield arguments


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> CorpusSettings:
    return every_stage(tmp_path_factory.mktemp("lists"))


@pytest.fixture(scope="module")
def web(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> ReadSettings:
    return two_sources(corpus, tmp_path_factory.mktemp("web"))


def test_every_engine_gives_the_same_dataset(
    web: ReadSettings,
    everything: CorpusSettings,
    tokenizer_directory: str,
    tmp_path: Path,
    portable_arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One element a file, so that workers share the reading.
    monkeypatch.setattr("clozekit.pipelines.reading.read_documents.MAX_BATCH_CHARACTERS", 1)

    def build(name: str, runner: str, num_workers: int, beam_arguments: list[str]) -> tuple[str, dict[str, int]]:
        directory = str(tmp_path / name)
        manifest, _ = prepare(
            web, OPTIONS, tokenizer_directory, directory, runner, num_workers, beam_arguments, corpus=everything
        )
        assert manifest.environment["runner"] == runner
        return manifest.dataset_sha256, dict(manifest.counts)

    found = {
        "in this process": build("one", "FnApiRunner", 1, []),
        "two worker processes": build("two", "FnApiRunner", 2, []),
        "job service and worker pool": build("portable", "PortableRunner", 1, portable_arguments),
    }
    counts = found["in this process"][1]
    assert all(one == found["in this process"] for one in found.values()), found
    # Nothing of it was idle.
    took = ("rejected_weight", "rejected_num_bad_words", "contaminated", "duplicates_exact", "duplicates_near")
    kept = ("copies_added", "documents_train", "documents_validation")
    assert [name for name in (*took, *kept) if not counts[name]] == []


def test_bad_input_arrives_in_one_line_over_the_portable_path(
    tokenizer_directory: str, tmp_path: Path, portable_arguments: list[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat"}\n{cut\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        prepare(
            ReadSettings((str(path),)),
            OPTIONS,
            tokenizer_directory,
            str(tmp_path / "out"),
            "PortableRunner",
            1,
            portable_arguments,
        )
    assert str(caught.value).startswith("at most 0 of all records may be bad (--max-bad-rate), 1 of 2 are")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def graph(web: ReadSettings, everything: CorpusSettings, tokenizer_directory: str) -> protocol.Pipeline:
    """The whole graph, with every stage on, as every runner gets it."""
    inputs, tokenizer = find_sources(web), describe_tokenizer(load_tokenizer(tokenizer_directory))
    build = describe_build(inputs, web, everything, OPTIONS, tokenizer, "")
    root = beam.Pipeline(options=PipelineOptions(["--runner=PortableRunner"]))
    # Two lengths: stages that are made more than once must have names of their own.
    targets = [Target("/nowhere", dataclasses.replace(OPTIONS, sequence_length=length), build) for length in (32, 64)]
    selection = select_files(inputs, web, everything, OPTIONS)
    build_graph(root, selection, targets, tokenizer_directory, "/nowhere", "id", BlockStore(), None)
    return root.to_runner_api()


# What Flink, Dataflow and Prism run: no splittable sources, no state, no timers, no test streams.
STANDARD_TRANSFORMS = {
    "beam:transform:impulse:v1",
    "beam:transform:pardo:v1",
    "beam:transform:group_by_key:v1",
    "beam:transform:flatten:v1",
    "beam:transform:combine_per_key:v1",
    "beam:transform:combine_grouped_values:v1",
    "beam:transform:reshuffle:v1",
}
# Composites that runners look inside of.
COMPOSITES = {"", "beam:transform:generic_composite:v1", "beam:transform:pickled_python:v1"}
STANDARD_CODERS = {
    f"beam:coder:{name}:v1"
    for name in ("bytes", "kv", "tuple", "iterable", "varint", "string_utf8", "global_window", "bool", "double")
}
PICKLED_CODER = "beam:coder:pickled_python:v1"


def pardos(graph: protocol.Pipeline) -> dict[str, protocol.ParDoPayload]:
    return {
        transform.unique_name: protocol.ParDoPayload.FromString(transform.spec.payload)
        for transform in graph.components.transforms.values()
        if transform.spec.urn == "beam:transform:pardo:v1"
    }


@pytest.mark.slow
def test_the_graph_holds_every_stage(graph: protocol.Pipeline) -> None:
    names = {
        transform.unique_name.split("/")[1]
        for transform in graph.components.transforms.values()
        if "/" in transform.unique_name
    }
    assert {
        "ReadDocuments", "ThinSources", "CleanDocuments", "TagDocuments", "FilterDocuments", "Decontaminate",
        "SplitDocuments", "Deduplicate", "RepeatSources",
    } <= names  # fmt: skip
    assert any("FindNear/Compare" in name for name in pardos(graph))


@pytest.mark.slow
def test_the_graph_holds_only_what_every_runner_has(graph: protocol.Pipeline) -> None:
    assert list(graph.requirements) == []
    transforms = graph.components.transforms.values()
    assert {transform.spec.urn for transform in transforms} <= STANDARD_TRANSFORMS | COMPOSITES
    # A composite must have an inside or hand its input on, or runners would have to know it.
    empty = [t for t in transforms if t.spec.urn in COMPOSITES and not t.subtransforms]
    assert [t.unique_name for t in empty if set(t.outputs.values()) - set(t.inputs.values())] == []
    for name, pardo in pardos(graph).items():
        assert (dict(pardo.state_specs), dict(pardo.timer_family_specs)) == ({}, {}), name
        assert (pardo.restriction_coder_id, pardo.requests_finalization) == ("", False), name
        patterns = {side.access_pattern.urn for side in pardo.side_inputs.values()}
        assert patterns <= {"beam:side_input:iterable:v1", "beam:side_input:multimap:v1"}, name
    assert {strategy.window_fn.urn for strategy in graph.components.windowing_strategies.values()} == {
        "beam:window_fn:global_windows:v1"
    }


def test_coders_are_named_and_keys_are_coded_the_same_everywhere(graph: protocol.Pipeline) -> None:
    coders, loaded = graph.components.coders, PipelineContext(graph.components).coders
    assert {coder.spec.urn for coder in coders.values()} <= STANDARD_CODERS | {PICKLED_CODER}
    for name, coder in coders.items():
        if coder.spec.urn == PICKLED_CODER:
            assert type(loaded[name]).__module__ == "apache_beam.coders.coders", name
    for transform in graph.components.transforms.values():
        if transform.spec.urn != "beam:transform:group_by_key:v1":
            continue
        (collection,) = transform.inputs.values()
        key_coder = coders[graph.components.pcollections[collection].coder_id].component_coder_ids[0]
        assert loaded[key_coder].is_deterministic(), transform.unique_name


def test_functions_are_pickled_without_main_or_data(graph: protocol.Pipeline) -> None:
    for name, pardo in pardos(graph).items():
        payload = pardo.do_fn.payload
        if not payload:
            continue
        packed = base64.b64decode(payload)
        content = bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed)
        assert b"__main__" not in content, name
        assert b"tensorflow" not in content, name
        # Settings and names travel, vocabularies and tables do not.
        assert len(content) < 8192, (name, len(content))


@pytest.mark.parametrize(
    ("runner", "num_workers", "arguments", "message"),
    [
        ("FnApiRunner", 1, ["--direct_running_mode=multi_threading"], "must not be multi_threading"),
        ("FnApiRunner", 1, ["--direct_running_mode", "multi_threading"], "must not be multi_threading"),
        ("DirectRunner", 1, ["--direct_running_mode=multi_threading"], "must not be multi_threading"),
        ("FnApiRunner", 1, ["--direct_num_workers=4"], "worker processes are counted by --num-workers"),
        ("FnApiRunner", 1_000_000, [], "num_workers must be at most [0-9]+ on a machine of [0-9]+ CPUs, got 1000000"),
        ("DirectRunner", 4, [], "--num-workers counts the local processes of FnApiRunner, got 4 with DirectRunner"),
        ("NoSuchRunner", 1, [], "--runner must name a runner that Beam knows, got 'NoSuchRunner'"),
        ("FlinkRunner", 1, ["--flink_matser=x"], "it does not know --flink_matser=x"),
    ],
)
def test_modes_that_lose_records_and_options_without_effect_are_refused(
    runner: str, num_workers: int, arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        runner_options(runner, num_workers, arguments)


def documented_commands(text: str) -> dict[str, list[str]]:
    """Runner -> the options behind `--`, of the commands of a text."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"--runner (\w+Runner) -- (--[^\n`]*)", joined)
    return {runner: options.split() for runner, options in found}


@pytest.mark.parametrize("where", ["docs/preparing-data.md", "prepare --help"])
def test_the_documented_options_of_flink_and_dataflow_are_beams_own(
    where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if where.endswith(".md"):
        text = (Path(__file__).parents[3] / where).read_text(encoding="utf-8")
    else:
        with pytest.raises(SystemExit):
            parse(["prepare", "--help"])
        text = capsys.readouterr().out
    commands = documented_commands(text)
    assert set(commands) == {"FlinkRunner", "DataflowRunner"}
    flink = runner_options("FlinkRunner", 1, commands["FlinkRunner"])
    assert flink.view_as(FlinkRunnerOptions).flink_master == "HOST:8081"
    assert flink.view_as(FlinkRunnerOptions).flink_version == "1.20"
    assert flink.view_as(FlinkRunnerOptions).parallelism == 16
    assert flink.view_as(PortableOptions).environment_type == "EXTERNAL"
    assert flink.view_as(PortableOptions).environment_config == "localhost:50000"
    dataflow = runner_options("DataflowRunner", 1, commands["DataflowRunner"])
    cloud = dataflow.view_as(GoogleCloudOptions)
    assert (cloud.project, cloud.region, cloud.temp_location, cloud.staging_location) == (
        "P",
        "R",
        "gs://B/temp",
        "gs://B/staging",
    )
    workers = dataflow.view_as(WorkerOptions)
    assert (workers.sdk_container_image, workers.max_num_workers, workers.machine_type) == (
        "IMAGE",
        50,
        "n2-standard-4",
    )
    assert dataflow.view_as(SetupOptions).sdk_location == "container"
    assert dataflow.view_as(SetupOptions).save_main_session is False
    # Those of Flink are no options of Dataflow, but an option that nobody knows is refused.
    for runner, options in commands.items():
        with pytest.raises(InputError, match="it does not know --no_such_option"):
            runner_options(runner, 1, [*options, "--no_such_option"])
