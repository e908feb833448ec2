"""The commands and settings that the documents show: all of them parse, those that take seconds are run."""

import contextlib
from pathlib import Path

import pytest
from documents import GUIDES, Block, blocks, commands, guide_commands
from long_variants import FULL
from run_commands import run_command

from clozekit.deploy.cli.parser import parse
from clozekit.deploy.submit.job_spec import load_job
from clozekit.model.training.settings.finetune_settings import load_finetune_config
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.settings.corpus_file import build_options, load_fields

COMMANDS = guide_commands()
SETTINGS = [block for document in GUIDES for block in blocks(document, "yaml")]


def test_the_guides_show_every_verb() -> None:
    shown = {words[0] for _, words in COMMANDS}
    assert shown >= {
        *("vocab", "prepare", "inspect", "verify", "export", "train", "evaluate", "finetune", "predict", "fill"),
        *("convert", "submit", "doctor", "costs"),
    }


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place}-{words[0]}" for place, words in COMMANDS])
def test_every_command_parses(place: str, words: list[str], tmp_path: Path) -> None:
    arguments = parse(words)
    if arguments.command == "train":
        (tmp_path / "config.yaml").write_text("dataset: d\ndirectory: r", encoding="utf-8")
        load_config(tmp_path / "config.yaml", arguments.changes)
    elif arguments.command == "finetune":
        load_finetune_config("glue/mrpc", ["init_from=p", "directory=r", *arguments.changes])
    elif arguments.command == "submit" and arguments.remote:
        parse(arguments.remote)


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_every_block_of_settings_is_accepted(block: Block, tmp_path: Path) -> None:
    """Its first line says which file it is."""
    kind = block.text.splitlines()[0]
    path = tmp_path / "file.yaml"
    path.write_text(block.text, encoding="utf-8")
    if kind == "# config.yaml":
        load_config(path)
    elif kind == "# job.yaml":
        load_job(path)
    else:
        assert kind == "# corpus.yaml"
        build_options(load_fields(str(path)))


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


@pytest.mark.parametrize("where", ["vertex", "slurm", "gke", "tpu", "dataflow"])
def test_the_jobs_of_the_guide_are_rendered(where: str, tmp_path: Path) -> None:
    """Each with the job above it on the page; a dry run sends nothing."""
    job = ""
    for block in blocks("docs/several-machines.md", "yaml", "bash"):
        if block.language == "yaml":
            job = block.text
            continue
        for words in commands(block):
            if words[:2] == ["submit", where] and "--dry-run" in words:
                (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
                config = "dataset: gs://bucket/dataset\ndirectory: gs://bucket/run\n"
                (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
                if where == "dataflow":
                    # Its graph is built here, from inputs in a bucket: tests/deploy/submit does it with a server.
                    load_job(tmp_path / "job.yaml").needs("dataflow", "image", "dataflow.temp_location")
                    return
                with contextlib.chdir(tmp_path):
                    assert "bert-" in run_command(words)
                return
    raise AssertionError(f"the guide shows no job for {where}")
