"""The commands and settings that the documents show: all of them parse, those that take seconds are run."""

import contextlib
from pathlib import Path

import pytest
import yaml
from documents import GUIDES, Block, blocks, commands, guide_commands
from guide_desk import QUICKER
from long_variants import FULL
from run_commands import run_command
from workflows import words_of, write_inputs

from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.finetune_command import options_as_keys
from clozekit.deploy.cli.parser import parse
from clozekit.deploy.submit.job_spec import load_job
from clozekit.deploy.submit.platforms import PLATFORMS
from clozekit.deploy.workflow.run_workflow import look
from clozekit.deploy.workflow.workflow_file import load_workflow
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.settings.recipe import load_recipe
from clozekit.pipelines.settings.stream_recipe import load_stream_recipe

COMMANDS = guide_commands()
DATAFLOW_KEYS = ("image", "project", "region", "dataflow.temp_location")
SETTINGS = [block for document in GUIDES for block in blocks(document, "yaml")]


def test_the_guides_show_every_verb() -> None:
    shown = {words[0] for _, words in COMMANDS}
    assert shown >= {
        *("vocab", "prepare", "inspect", "verify", "export", "train", "evaluate", "finetune", "predict", "fill"),
        *("convert", "publish", "submit", "doctor", "costs", "bench", "recipes", "stream", "compact", "run"),
    }


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place}-{words[0]}" for place, words in COMMANDS])
def test_every_command_parses(place: str, words: list[str], tmp_path: Path) -> None:
    arguments = parse(words)
    if arguments.command == "train":
        _, changes = file_and_changes(arguments.config)
        (tmp_path / "config.yaml").write_text("dataset: d\ndirectory: r", encoding="utf-8")
        load_config(tmp_path / "config.yaml", changes)
    elif arguments.command == "finetune":
        file, changes = file_and_changes(arguments.config)
        # The reader's own file is not here.
        told = [] if file is None else ["init_from=p", "directory=r"]
        load_finetune_config(None if file is None else "glue/mrpc", [*told, *changes], options_as_keys(arguments))
    elif arguments.command == "submit" and arguments.behind:
        parse(arguments.behind)


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_every_block_of_settings_is_accepted(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first line says which file it is."""
    kind = block.text.splitlines()[0]
    path = tmp_path / "file.yaml"
    path.write_text(block.text, encoding="utf-8")
    if kind == "# config.yaml":
        load_config(path)
    elif kind == "# job.yaml":
        load_job(path)
    elif kind == "# stream.yaml":
        load_stream_recipe(str(path), [])
    elif kind == "# workflow.yaml":
        workflow = load_workflow(str(path))
        # Of a bucket it would ask what is there.
        if "gs://" not in block.text:
            monkeypatch.chdir(tmp_path)
            write_inputs(workflow, tmp_path)
            assert look(workflow, None, words_of)
    else:
        assert kind == "# recipe.yaml"
        load_recipe(str(path), [], {})


def test_the_tour_prints_what_the_quickstart_shows(screens: tuple[Path, dict[str, str]]) -> None:
    """The first word of each line of an output: the corpus is another one, so numbers are too."""
    _, found = screens
    for block in blocks("docs/quickstart.md", "console"):
        ((verb, *_),) = commands(block)
        if verb == "train" and not FULL:
            continue
        shown = {line.split()[0] for line in block.text.splitlines()[1:] if line.strip() and line[0].isalpha()}
        printed = {line.split()[0] for line in found[verb].splitlines() if line.strip()}
        assert shown - {"longest"} <= printed, verb


@pytest.mark.parametrize("place", ["docs/preparing-data.md", "docs/models-and-presets.md"])
def test_commands_that_only_look_are_run(place: str, desk: Path) -> None:
    looking = [words for _, words in guide_commands(place) if words[0] in ("inspect", "verify", "fill")]
    assert looking
    with contextlib.chdir(desk):
        for words in looking:
            assert run_command(words).strip()


def test_the_streaming_guide_runs(desk: Path) -> None:
    """Until there is nothing more to read; what it shows is then looked at, compacted and followed."""
    recipe, *_, config = blocks("docs/streaming.md", "yaml")
    followed = [
        "stream.until_idle=true",
        "stream.settle_seconds=0",
        "stream.poll_seconds=0.05",
        "tokenizer=dataset/tokenizer",
    ]
    quicker = [*QUICKER, "train.hours=null", "train.steps=3", "train.global_batch_size=4", "follow.idle_seconds=0"]
    with contextlib.chdir(desk):
        Path("stream.yaml").write_text(recipe.text, encoding="utf-8")
        Path("follow.yaml").write_text(config.text.replace("directory: run", "directory: followed"), encoding="utf-8")
        Path("incoming").mkdir()
        lines = [f"line number {number} of a text that keeps growing, and some more words" for number in range(200)]
        Path("incoming/lines.txt").write_text("\n".join(lines), encoding="utf-8")
        for _, words in guide_commands("docs/streaming.md"):
            verb, *rest = words
            if verb == "stream" and rest == ["stream.yaml"]:
                assert "200 documents" in run_command([*words, *followed])
            elif verb == "train":
                settings = [one for one in quicker if not one.startswith("train.steps=2")]
                assert "loss" in run_command(["train", "follow.yaml", *settings])
            elif "--since" not in words and "--follow" not in words:
                assert run_command(words).strip()


def test_what_would_be_published_is_shown(desk: Path) -> None:
    dry = [words for _, words in guide_commands("docs/handing-over.md") if "--dry-run" in words]
    assert dry
    with contextlib.chdir(desk):
        for words in dry:
            shown = run_command(words)
            assert "library_name: transformers" in shown and f"nothing was sent to {words[2]}" in shown


def jobs_shown() -> dict[str, tuple[str, list[str]]]:
    """Platform -> the job above its dry run in the guide, and the words of that."""
    found, job = {}, ""
    for block in blocks("docs/several-machines.md", "yaml", "bash"):
        job = block.text if block.language == "yaml" else job
        for words in commands(block) if block.language == "bash" else []:
            if words[0] == "submit" and "--dry-run" in words:
                found[words[1]] = job, words
    return found


def test_the_guide_shows_a_job_for_every_platform() -> None:
    assert set(jobs_shown()) == set(PLATFORMS)


# The others load much of Google's client libraries: with CLOZEKIT_FULL=1.
@pytest.mark.parametrize("where", ["flink", "gke", "slurm", "spark", "tpu", *(["vertex"] if FULL else [])])
def test_the_jobs_of_the_guide_are_rendered(where: str, tmp_path: Path) -> None:
    """A dry run sends nothing."""
    job, words = jobs_shown()[where]
    (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
    config = "dataset: gs://bucket/dataset\ndirectory: gs://bucket/run\n"
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    with contextlib.chdir(tmp_path):
        assert yaml.safe_load(job)["name"] in run_command(words)


def test_the_jobs_of_the_guide_hold_what_their_platforms_need(tmp_path: Path) -> None:
    for where, keys in (("vertex", ("image", "project", "region", "machine", "output")), ("dataflow", DATAFLOW_KEYS)):
        job, _ = jobs_shown()[where]
        (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
        load_job(tmp_path / "job.yaml").needs(where, *keys)
