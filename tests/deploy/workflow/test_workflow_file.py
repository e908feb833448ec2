"""The recipe of a workflow: what it may say, and one clear line for whatever is wrong with it."""

import copy
from typing import Any

import pytest

from clozekit.deploy.workflow.references import with_references
from clozekit.deploy.workflow.workflow_file import Workflow, make_workflow
from clozekit.tokenizers.common.errors import InputError

RECIPE: dict[str, Any] = {
    "output": "out",
    "values": {"steps": 20, "corpus": "docs", "languages": ["en", "de"]},
    "steps": {
        "score": {"evaluate": {"preset": "${train.preset}", "dataset": "${data.output}"}},
        "train": {"train": {"dataset": "${data.output}/len-64", "train": {"steps": "${values.steps}"}}},
        "data": {
            "prepare": {
                "tokenizer": "${words.output}",
                "read": {"inputs": ["${values.corpus}/*.txt"]},
                "filter": {"languages": "${values.languages}"},
            }
        },
        "words": {"vocab": {"read": {"inputs": ["docs"]}}},
    },
}


def made(*changes: str, **fields: Any) -> Workflow:
    return make_workflow({**copy.deepcopy(RECIPE), **fields}, changes, "r.yaml")


def with_step(name: str, step: Any) -> dict[str, Any]:
    return {"steps": {**copy.deepcopy(RECIPE["steps"]), name: step}}


def test_steps_come_behind_those_that_they_need_however_they_stand() -> None:
    assert list(made().steps) == ["words", "data", "train", "score"]
    assert made().steps["score"].before == ("train", "data")
    assert [step.name for step in made().needed_for("train")] == ["words", "data", "train"]


def test_a_step_that_names_another_waits_for_it() -> None:
    fields = with_step("alone", {"vocab": {"read": {"inputs": ["docs"]}}, "after": "score"})
    assert list(made(**fields).steps) == ["words", "data", "train", "score", "alone"]


def test_values_stand_for_themselves_of_whatever_type() -> None:
    steps = made().steps
    assert steps["train"].block["train"]["steps"] == 20
    assert steps["data"].block["filter"]["languages"] == ["en", "de"]
    assert steps["data"].block["read"]["inputs"] == ["docs/*.txt"]


def test_changes_go_to_the_step_that_they_begin_with() -> None:
    workflow = made(
        "train.optimizer.learning_rate=0.001", "values.steps=7", "output=other", "steps.train.needs.cores=1"
    )
    assert workflow.output == "other"
    assert workflow.steps["train"].block["train"]["steps"] == 7
    assert workflow.steps["train"].block["optimizer"]["learning_rate"] == 1e-3
    assert workflow.steps["train"].needs.cores == 1
    # A length in another unit takes the place of the recipe's.
    assert made("train.train.epochs=3").steps["train"].block["train"] == {"epochs": 3}


def test_a_step_stands_on_a_ready_recipe_or_a_file() -> None:
    fields = with_step("train", {"from": "laptop", "train": {"dataset": "d", "train": {"epochs": 2}}})
    block = made(**fields).steps["train"].block
    assert block["model"]["num_layers"] > 0 and block["train"]["epochs"] == 2
    assert "steps" not in block["train"]
    # Where the recipe alone would write is no place of a step.
    assert "directory" not in block


def test_only_whole_references_keep_their_type() -> None:
    assert with_references(["${a.b}", "x${a.b}", {"k": ("${a.b}",)}], lambda name: 5) == [5, "x5", {"k": [5]}]


STEP = RECIPE["steps"]["words"]


@pytest.mark.parametrize(
    ("fields", "changes", "line"),
    [
        ({"outputs": "x"}, [], "every key of a recipe must be known, r.yaml has outputs; did you mean output?"),
        ({"output": None}, [], "output of r.yaml must be a folder or a URL, got None; add it, or pass output=FOLDER"),
        ({"output": 3}, [], "output of r.yaml must be a folder or a URL, got 3; add it, or pass output=FOLDER"),
        ({"steps": {}}, [], "steps of r.yaml must be a mapping of names to steps, got {}"),
        ({"steps": ["vocab"]}, [], "steps of r.yaml must be a mapping of keys to values, got ['vocab']"),
        ({"steps": {"a": 3}}, [], "steps of r.yaml must be a mapping of names to steps, got {'a': 3}"),
        ({"values": 3}, [], "values of r.yaml must be a mapping of names to values, got 3"),
        (
            {"limits": {"core": 3}},
            [],
            "every key of a configuration must be known, r.yaml has limits.core; did you mean",
        ),
        ({"limits": {"cores": 0}}, [], "cores must be at least 1, got 0"),
        (with_step("a", {}), [], "step a of r.yaml must have one command of vocab, prepare, "),
        (with_step("a", {**STEP, "train": {}}), [], "step a of r.yaml must have one command of vocab, prepare, "),
        (with_step("a", {"vocab": 3}), [], "vocab of step a of r.yaml must be a mapping, got 3"),
        (
            with_step("a", {**STEP, "needs": 3}),
            [],
            "needs of r.yaml, step a must be a mapping of keys to values, got 3",
        ),
        (with_step("a", {**STEP, "afterr": 3}), [], "every key of a recipe must be known, r.yaml has steps.a.afterr;"),
        (with_step("a", {**STEP, "after": ["b"]}), [], "after of step a of r.yaml must name steps, got 'b'"),
        (with_step("a", {**STEP, "after": {"b": 1}}), [], "after of step a of r.yaml must be a list of words"),
        (with_step("A", STEP), [], "a step of r.yaml is named in small letters"),
        (with_step("values", STEP), [], "a step of r.yaml is named in small letters"),
        (
            with_step("a", {**STEP, "from": "x.yaml"}),
            [],
            "from of r.yaml, step a is for prepare, train, adapt, finetune, got",
        ),
        (with_step("a", {**STEP, "where": "slurm"}), [], "where of step a of r.yaml: vocab runs on local, got 'slurm'"),
        (
            with_step("a", {"train": {}, "where": "dataflow"}),
            [],
            "where of step a of r.yaml: train runs on local, vertex, gke",
        ),
        (
            with_step("a", {"train": {}, "where": {"name": "x"}}),
            [],
            "where of step a of r.yaml: here there is no job spec",
        ),
        (
            with_step("a", {"train": {"dataset": "${dat.output}"}}),
            [],
            "a reference must name a step or a value of r.yaml, step a",
        ),
        (
            with_step("a", {"train": {"dataset": "${data.out}"}}),
            [],
            "step data (prepare) has the outputs output, got '${data.out}'",
        ),
        (
            with_step("a", {"train": {"dataset": "${values.no}"}}),
            [],
            "a value that is referred to must stand under values of r.yaml",
        ),
        ({}, ["b.c=1"], "a change must begin with a step or a key of the recipe, got b.c"),
        (
            {},
            ["trian.seed=1"],
            "a change must begin with a step or a key of the recipe, got trian.seed; did you mean train?",
        ),
        ({}, ["steps.new.vocab={}"], "a change of steps.NAME must be of a step that is there, got 'new'"),
        ({}, ["train.seed"], "a change must look like key=value"),
        (
            with_step("words", {"vocab": {"read": {"inputs": ["${score.output}"]}}}),
            [],
            "no step may need itself, r.yaml has the circle score -> train -> data -> words -> score; take one reference out",
        ),
        (
            with_step("a", {**STEP, "needs": {"cores": 9}}) | {"limits": {"cores": 2}},
            [],
            "step a of r.yaml may need at most limits.cores, 2",
        ),
    ],
)
def test_a_mistake_is_said_in_one_line(fields: dict[str, Any], changes: list[str], line: str) -> None:
    with pytest.raises(InputError) as error:
        made(*changes, **fields)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_until_is_a_step() -> None:
    with pytest.raises(
        InputError, match="--until and --only take a step, which are words, data, train, score, got 'x'"
    ):
        made().needed_for("x")
