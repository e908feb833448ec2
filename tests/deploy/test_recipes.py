"""The ready recipes: each loads, says what it must, and gives what its options would give."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from workflows import words_of, write_inputs

from clozekit.deploy.cli.main import main
from clozekit.deploy.demo.run_demo import (
    CONFIG,
    CORPUS_FILE,
    SEQUENCE_LENGTH,
    TRAINING_MINUTES,
    VALIDATION_RATE,
    VOCABULARY_SIZE,
)
from clozekit.deploy.recipes import PREPARE, RUN, TRAIN, ReadyRecipe, find_recipe, ready_recipes
from clozekit.deploy.workflow.run_workflow import look
from clozekit.deploy.workflow.workflow_file import load_workflow
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, RowSettings
from clozekit.pipelines.settings.recipe import load_recipe, make_recipe
from clozekit.tokenizers.common.errors import InputError

RECIPES = ready_recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.verb} {recipe.name}")
def test_a_ready_recipe_loads_and_shows_its_command(
    recipe: ReadyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(f"clozekit {recipe.verb} {recipe.name}" in line for line in recipe.head)
    if recipe.verb == TRAIN:
        load_config(recipe.path)
    elif recipe.verb == PREPARE:
        given = {"read": {"inputs": ("docs",)}, "": {"tokenizer": "tokenizer", "output": "dataset"}}
        assert load_recipe(str(recipe.path), [], given).reading.inputs == ("docs",)
    elif recipe.verb == RUN:
        # Whatever a command would refuse is refused here.
        monkeypatch.chdir(tmp_path)
        workflow = load_workflow(str(recipe.path), ["output=out"])
        write_inputs(workflow, tmp_path)
        assert all(not one.is_done for one in look(workflow, None, words_of))


@pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if r.verb in (TRAIN, PREPARE, RUN)], ids=lambda r: f"{r.verb} {r.name}"
)
def test_the_head_of_a_recipe_says_hardware_time_and_result_or_that_it_was_not_run(recipe: ReadyRecipe) -> None:
    head = " ".join(recipe.head)
    assert "Hardware" in head
    assert "measured" in head or "Not run here" in head or "Result" in head


def test_the_laptop_recipe_is_the_run_of_the_demo_with_a_length_in_steps(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text(
        CONFIG.format(dataset="dataset", run="run", preset="preset", length="steps: 6000"), encoding="utf-8"
    )
    ours, demo = load_config(find_recipe("laptop", TRAIN)), load_config(config)
    assert dataclasses.replace(ours, preset="preset") == demo


@pytest.mark.parametrize("verb", [PREPARE, TRAIN, RUN])
def test_a_folder_of_the_name_of_a_recipe_hides_it_from_nobody(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert_base").mkdir()
    assert Path(find_recipe("bert_base", verb)).is_file()


def test_the_workflow_of_the_demo_does_what_the_demo_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workflow = load_workflow(find_recipe("demo", RUN), ["output=out"])
    write_inputs(workflow, tmp_path)
    tokenizer, data, model, *_ = look(workflow, None, words_of)
    length = f"hours: {TRAINING_MINUTES / 60}"
    fields = yaml.safe_load(CONFIG.format(dataset=data.output("output"), run=model.place, preset="x", length=length))
    fields.pop("preset")
    assert model.block == fields
    rows = make_recipe(dict(data.block), "demo").rows.options()
    assert rows == PrepareSettings(sequence_length=SEQUENCE_LENGTH, validation_rate=VALIDATION_RATE, num_shards=8)
    assert tokenizer.block["vocabulary_size"] == VOCABULARY_SIZE
    assert tokenizer.block["read"] == data.block["read"] == {"inputs": [f"clozekit-demo/{CORPUS_FILE}"]}


def test_the_rows_of_a_recipe_have_every_setting_that_is_not_worked_out() -> None:
    names = {field.name for field in dataclasses.fields(PrepareSettings)} - {"shorter_lengths", "longest_length"}
    assert {field.name for field in dataclasses.fields(RowSettings)} == names
    assert RowSettings().options() == PrepareSettings()


@pytest.mark.slow
def test_a_recipe_gives_the_dataset_that_its_options_give(
    corpus: Path, tokenizer_directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {
        "tokenizer": tokenizer_directory,
        "output": str(tmp_path / "one"),
        "read": {"inputs": [str(corpus)]},
        "clean": {"unicode": True},
        "filter": {"rules": {"num_words": [3, None]}},
        "deduplicate": {"kind": "exact"},
        "rows": {"sequence_length": 64, "validation_rate": 0.1, "num_shards": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["prepare", str(tmp_path / "recipe.yaml"), "rows.sequence_length=32", "--num-shards", "2"]) == 0
    options = ["--input", str(corpus), "--tokenizer", tokenizer_directory, "--output", str(tmp_path / "two"), "--clean"]
    options += ["--rule", "num_words=3..", "--deduplicate", "exact", "--sequence-length", "32", "--num-shards", "2"]
    assert main(["prepare", *options, "--validation-rate", "0.1"]) == 0
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text("utf-8")) for name in ("one", "two"))
    assert one["dataset_sha256"] == two["dataset_sha256"]
    assert one["settings"] == two["settings"]
    assert capsys.readouterr().err.count("Traceback") == 0


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("row: {seed: 1}", [], "recipe.yaml has row; did you mean rows?"),
        ("rows: {sed: 1}", [], "has rows.sed; did you mean rows.seed?"),
        ("rows: []", [], "section 'rows' of .* must be a mapping"),
        ("rows: {sequence_length: [64, 64]}", [], "every sequence length must be another"),
        ("rows: {sequence_length: []}", [], "at least one sequence length"),
        ("rows: {packing: tight}", [], "packing must be one of best_fit, none"),
        ("read: {inputs: [docs]}", [], "--tokenizer is needed, or the key tokenizer in a recipe"),
        ("read: {inputs: [docs]}", ["tokenizer=t"], "--output is needed, or the key output in a recipe"),
        ("- 1", [], "must be a mapping of sections"),
        ("{}", ["rows.seed"], "a change must look like key=value"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_one_line(
    content: str, changes: list[str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_recipe(str(path), changes, {})


def test_one_file_holds_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "a.yaml", "--config", "b.yaml"]) == 2
    assert "one file holds a recipe, got a.yaml and --config b.yaml" in capsys.readouterr().err


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [[r.verb, r.name] for r in RECIPES]
    assert main(["recipes", "laptop"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["train"]["steps"] == 6000
    assert main(["recipes", "nothing"]) == 2
    assert "must be one of those that `clozekit recipes` lists, got nothing" in capsys.readouterr().err
