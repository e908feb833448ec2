"""Engines: the same dataset on every runner that is real here, and a graph that holds nothing the others lack."""

import base64
import bz2
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
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

from clozekit.pipelines.block_store import BlockStore
from clozekit.pipelines.corpus_options import AS_READ
from clozekit.pipelines.make_dataset import Target
from clozekit.pipelines.options import PrepareOptions, ReadOptions
from clozekit.pipelines.prepare import build_graph, describe_build, describe_tokenizer, prepare
from clozekit.pipelines.read import find_sources
from clozekit.pipelines.runners import runner_options
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import load_tokenizer

OPTIONS = PrepareOptions(sequence_length=32, validation_rate=0.1, num_shards=3, group_size=100)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@pytest.fixture(scope="module")
def portable_arguments() -> Iterator[list[str]]:
    """Beam's job service and worker pool as processes of their own, and the options that lead to them."""
    # The pool starts its workers with the first `python` of the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    job_port, pool_port = free_port(), free_port()
    commands = {
        job_port: ["apache_beam.runners.portability.local_job_service_main", f"--job_port={job_port}"],
        pool_port: ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool_port}"],
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands.values()
    ]
    try:
        for port, process in zip(commands, processes, strict=True):
            wait_for(port, process)
        yield [
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
        ]
    finally:
        for process in processes:
            # The whole session: the workers that the pool started too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_every_engine_gives_the_same_dataset(
    corpus: Path,
    tokenizer_directory: str,
    tmp_path: Path,
    portable_arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One element a file, so that workers share the reading.
    monkeypatch.setattr("clozekit.pipelines.read.MAX_BATCH_CHARACTERS", 1)
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(4):
        (tmp_path / f"part-{number}.jsonl").write_text("".join(lines[number::4]), encoding="utf-8")
    reading = ReadOptions((f"{tmp_path}/part-*.jsonl",))

    def build(name: str, runner: str, num_workers: int, beam_arguments: list[str]) -> str:
        manifest, _ = prepare(
            reading, OPTIONS, tokenizer_directory, str(tmp_path / name), runner, num_workers, beam_arguments
        )
        assert manifest.environment["runner"] == runner
        return manifest.dataset_sha256

    found = {
        "in this process": build("one", "FnApiRunner", 1, []),
        "two worker processes": build("two", "FnApiRunner", 2, []),
        "job service and worker pool": build("portable", "PortableRunner", 1, portable_arguments),
    }
    assert len(set(found.values())) == 1, found


def test_bad_input_arrives_in_one_line_over_the_portable_path(
    tokenizer_directory: str, tmp_path: Path, portable_arguments: list[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "the cat"}\n{cut\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        prepare(
            ReadOptions((str(path),)),
            OPTIONS,
            tokenizer_directory,
            str(tmp_path / "out"),
            "PortableRunner",
            1,
            portable_arguments,
        )
    assert str(caught.value).startswith("at most 0 of all records may be unreadable (--max-bad-rate), 1 of 2 are")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def graph(corpus: Path, tokenizer_directory: str) -> protocol.Pipeline:
    """The whole graph as every runner gets it."""
    reading = ReadOptions((str(corpus),))
    inputs, tokenizer = find_sources(reading), describe_tokenizer(load_tokenizer(tokenizer_directory))
    build = describe_build(inputs, reading, AS_READ, OPTIONS, tokenizer, "")
    root = beam.Pipeline(options=PipelineOptions(["--runner=PortableRunner"]))
    # Two lengths: stages that are made more than once must have names of their own.
    targets = [Target("/nowhere", dataclasses.replace(OPTIONS, sequence_length=length), build) for length in (32, 64)]
    build_graph(root, inputs, reading, AS_READ, targets, tokenizer_directory, "/nowhere", "id", BlockStore(), None)
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


def test_the_documented_options_of_flink_and_dataflow_are_beams_own() -> None:
    flink = runner_options(
        "FlinkRunner",
        1,
        [
            "--flink_master=flink-jobmanager:8081",
            "--flink_version=1.20",
            "--parallelism=16",
            "--environment_type=EXTERNAL",
            "--environment_config=localhost:50000",
            "--job_name=prepare",
        ],
    )
    assert flink.view_as(FlinkRunnerOptions).flink_master == "flink-jobmanager:8081"
    assert flink.view_as(FlinkRunnerOptions).parallelism == 16
    assert flink.view_as(PortableOptions).environment_config == "localhost:50000"
    dataflow = runner_options(
        "DataflowRunner",
        1,
        [
            "--project=my-project",
            "--region=europe-west4",
            "--temp_location=gs://my-bucket/temp",
            "--staging_location=gs://my-bucket/staging",
            "--job_name=prepare",
            "--sdk_container_image=europe-docker.pkg.dev/my-project/clozekit/pipelines:0.1.0",
            "--sdk_location=container",
            "--max_num_workers=50",
            "--machine_type=n2-standard-4",
            "--disk_size_gb=100",
            "--no_save_main_session",
        ],
    )
    assert dataflow.view_as(GoogleCloudOptions).region == "europe-west4"
    assert dataflow.view_as(WorkerOptions).max_num_workers == 50
    assert dataflow.view_as(WorkerOptions).machine_type == "n2-standard-4"
    assert dataflow.view_as(SetupOptions).save_main_session is False
