"""Verbs with settings take them from a file, from the command line alone, or from both."""

from pathlib import Path

import pytest

from clozekit.deploy.cli.main import main
from clozekit.deploy.cli.parser import parse
from clozekit.deploy.cli.prepare_command import prepare_order
from clozekit.deploy.cli.stream_command import stream_order
from clozekit.deploy.cli.train_command import train_order
from clozekit.deploy.submit.job_spec import load_job
from clozekit.deploy.submit.remote_command import train_command


def test_a_recipe_of_prepare_may_be_changes_alone() -> None:
    words = ["prepare", "tokenizer=t", "output=o", "read.inputs=[a.txt]", "rows.sequence_length=64"]
    recipe, _ = prepare_order(parse(words))
    assert (recipe.tokenizer, recipe.output, recipe.reading.inputs) == ("t", "o", ("a.txt",))


def test_a_recipe_of_stream_may_be_changes_alone() -> None:
    recipe = stream_order(parse(["stream", "tokenizer=t", "output=o", "read.inputs=[in]", "stream.window_seconds=60"]))
    assert (recipe.tokenizer, recipe.reading.inputs, recipe.windows.window_seconds) == ("t", ("in",), 60)


def test_a_configuration_of_train_may_be_changes_alone() -> None:
    order = train_order(parse(["train", "dataset=d", "--dry-run", "directory=r"]))
    assert (order.config, order.changes, order.dry_run) == (None, ("dataset=d", "directory=r"), True)


def test_what_is_submitted_may_be_changes_alone(tmp_path: Path) -> None:
    from clozekit.deploy.cli.submit_command import command_line

    spec = tmp_path / "job.yaml"
    spec.write_text("name: plain\n", encoding="utf-8")
    words = ["train", "dataset=gs://b/d", "directory=gs://b/r"]
    command = train_command(load_job(str(spec)), words, command_line(parse), "slurm", needs_url=True)
    assert command.words[1:] == ("train", "/tmp/clozekit-config.yaml", *words[1:])
    assert command.config == "{}\n"


@pytest.mark.parametrize("verb", ["train", "finetune", "prepare", "stream"])
def test_a_file_whose_name_holds_an_equals_sign_is_a_file(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("size=1.yaml").write_text("surprise: 1\n", encoding="utf-8")
    assert main([verb, "size=1.yaml"]) == 2
    assert "size=1.yaml has surprise" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "finetune", "prepare", "stream"])
def test_what_nothing_says_is_asked_for(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"stream": ["tokenizer=t"], "prepare": ["tokenizer=t"]}
    assert main([verb, *words.get(verb, [])]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"clozekit {verb}: ") and "needed" in line and "\n" not in line
