"""The ready recipes: each loads, says what it must, and gives what its options would give."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from clozekit.deploy.cli.main import main
from clozekit.deploy.demo.run_demo import CONFIG, STEPS
from clozekit.deploy.recipes import PREPARE, TRAIN, ReadyRecipe, find_recipe, ready_recipes
from clozekit.model.training.settings.run_file import load_config
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, RowSettings
from clozekit.pipelines.settings.recipe import load_recipe
from clozekit.tokenizers.common.errors import InputError

RECIPES = ready_recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.verb} {recipe.name}")
def test_a_ready_recipe_loads_and_shows_its_command(recipe: ReadyRecipe) -> None:
    assert any(f"clozekit {recipe.verb} {recipe.name}" in line for line in recipe.head)
    if recipe.verb == TRAIN:
        load_config(recipe.path)
    elif recipe.verb == PREPARE:
        given = {"read": {"inputs": ("docs",)}, "": {"tokenizer": "tokenizer", "output": "dataset"}}
        assert load_recipe(str(recipe.path), [], given).reading.inputs == ("docs",)


@pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if r.verb in (TRAIN, PREPARE)], ids=lambda r: f"{r.verb} {r.name}"
)
def test_the_head_of_a_recipe_says_hardware_time_and_result_or_that_it_was_not_run(recipe: ReadyRecipe) -> None:
    head = " ".join(recipe.head)
    assert "Hardware" in head
    assert "measured" in head or "Not run here" in head or "Result" in head


def test_the_laptop_recipe_is_the_run_of_the_demo(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text(CONFIG.format(dataset="dataset", run="run", preset="preset", steps=STEPS), encoding="utf-8")
    ours, demo = load_config(find_recipe("laptop", TRAIN)), load_config(config)
    assert dataclasses.replace(ours, preset="preset") == demo


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
    assert yaml.safe_load(capsys.readouterr().out)["train"]["steps"] == STEPS
    assert main(["recipes", "nothing"]) == 2
    assert "must be one of those that `clozekit recipes` lists, got nothing" in capsys.readouterr().err
