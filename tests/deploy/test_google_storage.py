"""gs:// from end to end on a real storage server: corpus, dataset, training, checkpoints, presets, races, refusals.

CLOZEKIT_FULL=1 adds a kill -9 and two builds that start together.
"""

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google_front import FORBIDDEN_BUCKET, Storage, files
from long_variants import FULL
from processes import Child, ran, started
from run_commands import run_command

from clozekit.deploy.cli.main import main
from clozekit.model import MaskedLM
from clozekit.model.training.controller import Run
from clozekit.model.training.run_directory.run_log import MEASURED
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.dataset.manifest import Manifest, read_manifest
from clozekit.pipelines.rows import commit
from clozekit.pipelines.verify import verify_dataset

pytestmark = pytest.mark.slow

STEPS = 50
CONFIG = """\
dataset: gs://ours/dataset
directory: gs://ours/run
model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32, dropout: 0.1}}
train: {{steps: {steps}, global_batch_size: 8, steps_per_loop: 2, xla: false}}
optimizer: {{learning_rate: 0.01}}
evaluate: {{every_steps: 25, max_rows: 32}}
checkpoint: {{every_steps: 10}}
"""
# A Spot machine has so long after SIGTERM.
SPOT_SECONDS = 30


def prepare_arguments(corpus: str, tokenizer: str, output: str, *more: str) -> list[str]:
    rows = ["--sequence-length", "32", "--validation-rate", "0.1", "--num-shards", "3"]
    return ["prepare", "--input", corpus, "--tokenizer", tokenizer, "--output", output, *rows, *more]


@pytest.fixture(scope="module")
def in_bucket(storage: Storage, corpus: Path, tokenizer_directory: str) -> tuple[str, str]:
    """Where a corpus and a tokenizer lie in the bucket."""
    files().put_file(str(corpus), "ours/corpus/documents.jsonl")
    files().put(tokenizer_directory + "/", "ours/tokenizer/", recursive=True)
    return "gs://ours/corpus/*.jsonl", "gs://ours/tokenizer"


@pytest.fixture(scope="module")
def prepared(in_bucket: tuple[str, str]) -> str:
    assert main(prepare_arguments(*in_bucket, "gs://ours/dataset")) == 0
    return "gs://ours/dataset"


def test_a_vocabulary_is_learned_from_a_bucket_into_a_bucket(
    in_bucket: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["vocab", "--input", in_bucket[0], "--output", "gs://ours/learned", "--vocabulary-size", "80"]
    assert main(arguments) == 0
    assert "ours/learned/tokenizer.json" in files().find("ours/learned")
    assert main(arguments) == 2
    assert "gs://ours/learned holds a tokenizer already" in capsys.readouterr().err


def test_a_dataset_in_a_bucket_is_the_one_on_a_disk(
    prepared: str, dataset: tuple[str, Manifest], in_bucket: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(prepared)
    assert manifest.dataset_sha256 == dataset[1].dataset_sha256
    shards = [shard.name for split in manifest.splits.values() for shard in split.shards]
    names = {name.removeprefix("ours/dataset/") for name in files().find("ours/dataset")}
    tokenizer = {name for name in names if name.startswith("tokenizer/")}
    assert tokenizer
    assert names == {*shards, *tokenizer, "manifest.json", "report.html", "data-card.md", ".clozekit-files.json"}
    assert main(["verify", prepared]) == 0
    assert "whole: 4 shards" in capsys.readouterr().out
    assert main(["inspect", prepared, "--rows", "1"]) == 0
    assert "[CLS]" in capsys.readouterr().out
    # Nothing to do the second time.
    assert main(prepare_arguments(*in_bucket, prepared)) == 0
    assert "already prepared" in capsys.readouterr().out


def saved_step(directory: str) -> int:
    """The newest finished checkpoint in the bucket."""
    states = [name for name in files().find(directory) if name.endswith("/state.json")]
    return max((int(name.split("/step-")[1][:8]) for name in states), default=0)


def wait_for_checkpoint(step: int, child: Child) -> None:
    end = time.monotonic() + 120
    while saved_step("ours/run/checkpoints") < step:
        assert child.process.poll() is None, child.output()
        assert time.monotonic() < end, child.output()
        time.sleep(0.01)


def curve(text: str) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    entries = [json.loads(line) for line in text.splitlines()]
    return [{name: value for name, value in entry.items() if name not in MEASURED} for entry in entries]


@pytest.fixture(scope="module")
def gone_on(prepared: str) -> str:
    """A run that was stopped, and killed, and run again to its end."""
    files().pipe_file("ours/config.yaml", CONFIG.format(steps=STEPS).encode())
    arguments = ["-m", "clozekit.deploy.cli", "train", "gs://ours/config.yaml"]
    with started(*arguments) as child:
        wait_for_checkpoint(10, child)
        asked = time.monotonic()
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == 75, child.output()
        assert time.monotonic() - asked < SPOT_SECONDS
        stopped_at = saved_step("ours/run/checkpoints")
        assert f"stopped by SIGTERM, saved at step {stopped_at} of {STEPS}" in child.output()
    if FULL:
        with started(*arguments) as child:
            wait_for_checkpoint(stopped_at + 10, child)
            child.kill()
    assert not files().exists("ours/run/preset/config.json")
    assert "preset gs://ours/run/preset" in run_command(["train", "gs://ours/config.yaml"])
    return "gs://ours/run"


def test_a_run_in_a_bucket_that_is_stopped_and_killed_is_as_if_never_stopped(
    gone_on: str, dataset: tuple[str, Manifest], tmp_path: Path
) -> None:
    assert files().exists("ours/run/report.html")
    local = load_config("gs://ours/config.yaml", [f"dataset={dataset[0]}", f"directory={tmp_path / 'run'}"])
    Run(local).train()
    log = files().cat_file("ours/run/metrics.jsonl").decode()
    assert curve(log) == curve((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8"))
    ours, expected = (MaskedLM.from_preset(path) for path in (f"{gone_on}/preset", str(tmp_path / "run" / "preset")))
    pairs = zip(ours.get_weights(), expected.get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    # Nor does its lineage say where it was.
    lineage = files().cat_file("ours/run/preset/lineage.json")
    assert lineage == (tmp_path / "run" / "preset" / "lineage.json").read_bytes()


FILL = """
import sys
from clozekit.deploy.cli.main import main
for place in sys.argv[1:]:
    print("status", main(["fill", place, "the [MASK] sat .", "--json"]), flush=True)
"""


def filled(*places: str) -> list[tuple[int, str]]:
    """The exit status and the screen of `fill` with each model in the bucket. In a process of their own: TensorFlow's reader of
    checkpoints holds the interpreter while it waits for the storage, which answers from this one."""
    with started("-c", FILL, *places) as child:
        assert child.ended() == 0, child.output()
        *screens, rest = re.split(r"^status (\d+)\n", child.output(), flags=re.MULTILINE)
    assert rest == "" and len(screens) == 2 * len(places)
    return [(int(status), screen) for screen, status in zip(screens[::2], screens[1::2], strict=True)]


def test_a_run_in_a_bucket_and_its_checkpoints_are_models(
    gone_on: str, prepared: str, in_bucket: tuple[str, str]
) -> None:
    names = ("preset", "latest", f"step-{STEPS - 10}", "step-3")
    *models, missing = filled(*(f"{gone_on}/{name}" for name in names))
    assert [status for status, _ in models] == [0, 0, 0], models
    preset, latest, earlier = (json.loads(screen[screen.index("{") :]) for _, screen in models)
    assert latest == preset
    assert earlier != preset
    assert missing[0] == 2
    assert "a checkpoint must be whole, gs://ours/run/checkpoints/step-00000003 is not" in missing[1]
    # Their tokenizer too.
    assert main(prepare_arguments(in_bucket[0], f"{gone_on}/latest", "gs://ours/of-run")) == 0
    assert read_manifest("gs://ours/of-run").dataset_sha256 == read_manifest(prepared).dataset_sha256


def shards_in(directory: str) -> set[str]:
    return {name.rsplit("/", 1)[1] for name in files().find(directory) if name.endswith(".tfrecord")}


def check_one_won(url: str, seed: int) -> None:
    """The dataset is that of the build with `seed`, whole, and nothing of another one is left."""
    manifest = read_manifest(url)
    assert manifest.settings["prepare"]["seed"] == seed
    assert verify_dataset(url).problems == ()
    directory = url.removeprefix("gs://")
    assert shards_in(directory) == {shard.name for split in manifest.splits.values() for shard in split.shards}
    assert [name for name in files().find(directory) if "/_parts/" in name] == []


def finished_meanwhile(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Has another process run a whole build at the last moment: just before this one writes its manifest."""
    write = commit.write_if_unchanged

    def late(path: str, content: bytes, seen: str | None) -> None:
        if path.endswith("manifest.json"):
            status, screen = ran("-m", "clozekit.deploy.cli", *arguments)
            assert status == 0, screen
        write(path, content, seen)

    monkeypatch.setattr(commit, "write_if_unchanged", late)


def test_of_two_builds_of_one_output_the_first_to_end_wins_whole(
    storage: Storage,
    in_bucket: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = prepare_arguments(*in_bucket, "gs://ours/raced", "--deduplicate", "exact")
    finished_meanwhile(monkeypatch, [*arguments, "--seed", "1"])
    assert main([*arguments, "--seed", "0"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clozekit")]
    assert "another one has finished gs://ours/raced while this one ran; its dataset is whole and stays" in line
    check_one_won("gs://ours/raced", seed=1)
    # It is the storage that refused: the manifest was to be its first generation.
    assert ("POST", 412) in {
        (method, status) for method, path, status in storage.answered if "ifGenerationMatch=0" in path
    }
    # To replace what is there has to be said.
    monkeypatch.undo()
    assert main([*arguments, "--seed", "0", "--overwrite"]) == 0
    check_one_won("gs://ours/raced", seed=0)


@pytest.mark.skipif(not FULL, reason="two builds more; CLOZEKIT_FULL=1 runs it")
def test_the_same_build_run_twice_at_once_gives_one_dataset(
    in_bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = prepare_arguments(*in_bucket, "gs://ours/twice", "--deduplicate", "exact")
    finished_meanwhile(monkeypatch, arguments)
    assert main(arguments) == 0
    check_one_won("gs://ours/twice", seed=0)
    lines = [name for name in files().find("ours/twice") if "/duplicates/" in name]
    assert (
        sum(len(files().cat_file(name).splitlines()) for name in lines)
        == read_manifest("gs://ours/twice").counts["duplicates_exact"]
    )


@pytest.mark.skipif(not FULL, reason="two more processes; CLOZEKIT_FULL=1 runs it")
def test_two_builds_started_together(in_bucket: tuple[str, str]) -> None:
    """Whatever the order of their steps, one wins whole and the other says so in one line."""
    arguments = prepare_arguments(*in_bucket, "gs://ours/together")
    with (
        started("-m", "clozekit.deploy.cli", *arguments, "--seed", "0") as first,
        started("-m", "clozekit.deploy.cli", *arguments, "--seed", "1") as second,
    ):
        codes = [first.ended(), second.ended()]
        assert sorted(codes) == [0, 2], first.output() + second.output()
        loser = (first, second)[codes.index(2)].output().replace("\r", "\n").splitlines()
    check_one_won("gs://ours/together", seed=codes.index(0))
    (line,) = [line for line in loser if line.startswith("clozekit")]
    assert "gs://ours/together" in line


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (
            lambda corpus, tokenizer: prepare_arguments(corpus, tokenizer, "gs://no-such-bucket/out"),
            2,
            "clozekit prepare: the output must be a directory that can be written, gs://no-such-bucket/out is not (there is"
            " no such bucket or file; check the name)",
        ),
        (
            lambda corpus, tokenizer: prepare_arguments(f"gs://{FORBIDDEN_BUCKET}/*.jsonl", tokenizer, "gs://ours/out"),
            2,
            f"clozekit prepare: every input must be readable, gs://{FORBIDDEN_BUCKET}/*.jsonl is not: no permission",
        ),
        (
            lambda corpus, tokenizer: ["verify", f"gs://{FORBIDDEN_BUCKET}/dataset"],
            1,
            "clozekit verify: the storage refused: no permission",
        ),
        (
            lambda corpus, tokenizer: ["train", "gs://ours/missing.yaml"],
            2,
            "clozekit train: a configuration must be a readable YAML file, gs://ours/missing.yaml is not (there is no such"
            " bucket or file; check the name)",
        ),
    ],
)
def test_a_refusal_is_one_line(
    arguments: Callable[[str, str], list[str]],
    status: int,
    line: str,
    in_bucket: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(*in_bucket)) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


def test_a_run_that_may_not_write_says_so_in_one_line(
    prepared: str, storage: Storage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(steps=STEPS), encoding="utf-8")
    assert main(["train", str(config), f"directory=gs://{FORBIDDEN_BUCKET}/run"]) == 1
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(
        "clozekit train: the storage refused: no permission (Forbidden: b/forbidden/o nobody@clozekit-tests does not have"
    )
    assert said.endswith("ask for the role Storage Object User on the bucket")
