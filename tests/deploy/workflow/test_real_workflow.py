"""Real commands in one recipe, killed and gone on: the same bytes as given by hand, and nothing whole done again.

CLOZEKIT_FULL=1 has six of them and kills the leader, and the command alone, in every step and inside of the long ones; what
it compares with is the recipe run in peace.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from forked_python import ForkedPython
from grammar import sentences
from long_variants import FULL
from run_commands import run_command

from clozekit.pipelines.dataset.corpus_content import write_corpus_content
from clozekit.pipelines.dataset.manifest import read_manifest

pytestmark = pytest.mark.slow

RECIPE = """\
output: {output}
steps:
  words: {{vocab: {{read: {{inputs: [docs.jsonl]}}, vocabulary_size: 120}}}}
  data:
    prepare:
      tokenizer: ${{words.output}}
      read: {{inputs: [docs.jsonl]}}
      rows: {{sequence_length: 32, validation_rate: 0.2, num_shards: 2}}
  model:
    train:
      dataset: ${{data.output}}
      model: {{num_layers: 1, num_heads: 2, hidden_dim: 16, intermediate_dim: 32, dropout: 0.1}}
      train: {{steps: 60, global_batch_size: 8, xla: false, steps_per_loop: 2}}
      checkpoint: {{every_steps: 10}}
      evaluate: {{every_steps: 30, max_rows: 32}}
  score: {{evaluate: {{preset: "${{model.preset}}", dataset: "${{data.output}}", max_rows: 16}}}}
  labels:
    finetune:
      init_from: ${{model.preset}}
      data: {{train: labels.csv, text: text, label: animal}}
      train: {{epochs: 1, global_batch_size: 8, xla: false}}
  theirs: {{convert: {{sources: ["${{labels.preset}}"], to: huggingface}}}}
"""
STEPS = ("words", "data", "model", "score", "labels", "theirs")
if not FULL:
    # Each command is a process that loads its libraries.
    RECIPE, STEPS = RECIPE.partition("  score:")[0], STEPS[:3]
LIMIT_SECONDS = 300
# What shows that a long step is in its middle; the others are killed as they begin.
MIDDLE = {"data": "dataset", "model": "run/checkpoints/step-*/state.json", "labels": "run/metrics.jsonl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    with (folder / "docs.jsonl").open("w") as stream:
        for number in range(120):
            stream.write(json.dumps({"text": " ".join(sentences(number, 6))}) + "\n")
    dice = random.Random(0)
    rows = [f"the {animal} sat,{animal}" for animal in dice.choices(["cat", "dog", "bird"], k=40)]
    (folder / "labels.csv").write_text("\n".join(["text,animal", *rows]) + "\n")
    return folder


def started(folder: Path, output: str) -> ForkedPython:
    (folder / f"{output}.yaml").write_text(RECIPE.format(output=output))
    (folder / f"{output}.log").touch()
    with contextlib.chdir(folder):
        words = ("-m", "clozekit.deploy.cli", "run", f"{output}.yaml")
        return ForkedPython(words, os.environ, folder / f"{output}.log")


def finished(folder: Path, output: str) -> str:
    """What the command says; it must end well."""
    (folder / f"{output}.log").unlink(missing_ok=True)
    process = started(folder, output)
    try:
        assert process.wait(LIMIT_SECONDS) == 0, said(folder, output)
    finally:
        process.kill()
        process.wait()
    return said(folder, output)


def said(folder: Path, output: str) -> str:
    logs = "".join(f"\n{path}:\n{path.read_text()[-2000:]}" for path in folder.glob(f"{output}/steps/*/log.txt"))
    return (folder / f"{output}.log").read_text() + logs


# Step -> the place below its folder of what it is for: presets, shards, the tokenizer.
KEPT = {"words": "tokenizer", "data": "dataset", "model": "run/preset", "labels": "run/preset", "theirs": "preset"}


def outputs(folder: Path, output: str) -> dict[str, str]:
    """Step -> the hash of what it is for."""
    found = {}
    for name in KEPT.keys() & set(STEPS):
        (step,) = folder.glob(f"{output}/steps/{name}-*/step.json")
        found[name] = content_of(step.parent / KEPT[name])
    return found


def content_of(place: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in place.rglob("*") if path.is_file() and _is_content(path)):
        digest.update(path.relative_to(place).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def by_hand(folder: Path) -> None:
    """The commands of the first three steps, each into the folder of its name."""
    reading = ["--input", "docs.jsonl", "--output"]
    rows = ["--sequence-length", "32", "--validation-rate", "0.2", "--num-shards", "2"]
    with contextlib.chdir(folder):
        run_command(["vocab", *reading, "peace/words/tokenizer", "--vocabulary-size", "120"])
        run_command(["prepare", *reading, "peace/data/dataset", "--tokenizer", "peace/words/tokenizer", *rows])
        # The hash of the corpus, which the leader of a recipe knows and a command does not.
        dataset = read_manifest("peace/data/dataset").dataset_sha256
        write_corpus_content("peace/data", [dataset], corpus_hash(folder))
        settings = yaml.safe_load(RECIPE.format(output="peace"))["steps"]["model"]["train"]
        settings |= {"dataset": "peace/data/dataset", "directory": "peace/model/run"}
        Path("train.yaml").write_text(yaml.safe_dump(settings))
        run_command(["train", "train.yaml"])


def _is_content(path: Path) -> bool:
    # A report and a manifest say when they were made, metadata.json too; the list of our files is no part of an output.
    return path.suffix not in (".html", ".md") and path.name not in (
        "manifest.json",
        "metadata.json",
        "dataset_info.json",
        ".clozekit-files.json",
    )


@pytest.fixture(scope="module")
def undisturbed(folder: Path, optimized_graphs: None) -> dict[str, str]:
    if FULL:
        finished(folder, "peace")
        return outputs(folder, "peace")
    by_hand(folder)
    return {name: content_of(folder / "peace" / name / place) for name, place in KEPT.items() if name in STEPS}


@pytest.fixture
def killed() -> Iterator[list[ForkedPython]]:
    started: list[ForkedPython] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def wait_for(reached: Callable[[], bool], process: ForkedPython, what: str) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not reached():
        assert process.poll() is None and time.monotonic() < end, what
        time.sleep(0.02)


def is_in(folder: Path, output: str, step: str) -> bool:
    return bool(list(folder.glob(f"{output}/steps/{step}-*/{MIDDLE.get(step, 'log.txt')}")))


def command_of(step: Path) -> int:
    """The id of the process of a step, by its working directory and words."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes().decode().split("\x00")
            except OSError:
                continue
            if "clozekit.deploy.cli.step_command" in words and any(step.name in word for word in words):
                return int(place.name)
    return 0


def at_work(folder: Path, output: str, step: str) -> bool:
    return any(command_of(place) for place in folder.glob(f"{output}/steps/{step}-*"))


KILLS = (
    [(step, who) for step in STEPS for who in ("leader", "command")]
    if FULL
    else [("data", "command"), ("model", "leader")]
)


def test_killed_anywhere_and_run_again_it_ends_with_the_bytes_of_a_run_in_peace(
    folder: Path, undisturbed: dict[str, str], killed: list[ForkedPython]
) -> None:
    output = "war"
    for step, who in KILLS:
        process = started(folder, output)
        killed.append(process)
        wait_for(lambda: is_in(folder, output, step) and at_work(folder, output, step), process, said(folder, output))  # noqa: B023
        (place,) = folder.glob(f"{output}/steps/{step}-*")
        worker = command_of(place)
        whole = {path: path.stat().st_mtime_ns for path in folder.glob(f"{output}/steps/*/step.json")}
        if who == "leader":
            process.kill()
            process.wait()
            was_told = "stopped by SIGTERM, saved at step"
            # It has no leader, and ends by itself.
            end = time.monotonic() + LIMIT_SECONDS
            while Path(f"/proc/{worker}/cmdline").exists() and command_of(place):
                assert time.monotonic() < end, said(folder, output)
                time.sleep(0.02)
            # It did not go on to its end without anybody.
            assert step != "model" or was_told in (place / "log.txt").read_text()
        else:
            os.kill(worker, signal.SIGKILL)
            assert process.wait(LIMIT_SECONDS) == 1
            assert f"step {step}" in said(folder, output) and "failed with signal 9" in said(folder, output)
        # What was whole is not written again.
        assert {path: path.stat().st_mtime_ns for path in whole} == whole
    text = finished(folder, output)
    assert text.count("skipped") >= len(whole)
    assert outputs(folder, output) == undisturbed
    assert finished(folder, output).count("skipped") >= len(STEPS)
    (preset,) = folder.glob(f"{output}/steps/model-*/run/preset")
    check_corpus(folder, preset)


def check_corpus(folder: Path, preset: Path) -> None:
    """The preset says by hash of which corpus it is."""
    links = json.loads((preset / "lineage.json").read_text())["links"].values()
    (corpus,) = [link for link in links if link["what"] == "corpus"]
    assert corpus["content_sha256"] == corpus_hash(folder)


def corpus_hash(folder: Path) -> str:
    of_file = hashlib.sha256((folder / "docs.jsonl").read_bytes()).hexdigest()
    return hashlib.sha256(of_file.encode()).hexdigest()
