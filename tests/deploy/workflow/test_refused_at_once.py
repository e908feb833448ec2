"""Whatever a command or a platform would refuse is refused before the first step begins: a line for each."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflows import look_at, words_of

from clozekit.deploy.workflow.exported_tasks import exported
from clozekit.deploy.workflow.plan_steps import job_of
from clozekit.deploy.workflow.workflow_file import load_workflow
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.extras import MissingExtraError

# A bucket of this process.
HERE = "memory://refused"
GKE = {"platform": "gke", "image": "i"}
STEPS: dict[str, Any] = {
    "words": {"vocab": {"read": {"inputs": ["docs"]}, "vocabulary_size": 300}},
    "data": {"prepare": {"tokenizer": "${words.output}", "read": {"inputs": ["docs/*.txt"]}}},
    "model": {"train": {"dataset": "${data.output}", "train": {"steps": 2}}},
    "score": {"evaluate": {"preset": "${model.preset}", "dataset": "${data.output}"}},
    "labels": {
        "finetune": {
            "init_from": "${model.preset}",
            "data": {"train": "rows.csv", "text": "text", "label": "label", "test": ["rest.csv"]},
        }
    },
    "ours": {"adapt": {"init_from": "bert_tiny_en_uncased", "read": {"inputs": ["docs"]}}},
    "theirs": {"convert": {"sources": ["${model.preset}"], "to": "huggingface"}},
    "out": {"publish": {"preset": "${model.preset}", "target": "hf://me/mine", "license": "mit"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps of every kind of settings, nothing wrong with them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "0.txt").write_text("a document")
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "rest.csv").write_text("text\na\n")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"output": "out", "steps": STEPS}, sort_keys=False))
    return tmp_path


def with_where(folder: Path, step: str, where: Any, output: str = "out") -> None:
    steps = copy.deepcopy(STEPS)
    steps[step]["where"] = where
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"output": output, "steps": steps}, sort_keys=False))


def test_nothing_is_refused_where_nothing_is_wrong(folder: Path) -> None:
    assert [one.name for one in look_at(folder)] == list(STEPS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # What is read is not there.
        (["words.read.inputs=[dosc]"], "read.inputs of step words of recipe.yaml is 'dosc', where nothing is"),
        (["data.read.inputs=[docs/*.md]"], "read.inputs of step data of recipe.yaml is 'docs/*.md', where nothing is"),
        (["words.read.inputs=[docs, dosc]"], "read.inputs of step words of recipe.yaml is 'dosc', where nothing is"),
        ([f"model.dataset={HERE}/d"], f"dataset of step model of recipe.yaml is '{HERE}/d', where nothing is"),
        (["ours.add_tokens=tokens.txt"], "add_tokens of step ours of recipe.yaml is 'tokens.txt', where nothing is"),
        (["ours.read.inputs=[dosc]"], "read.inputs of step ours of recipe.yaml is 'dosc', where nothing is"),
        (["labels.data.train=row.csv"], "labelled texts must be in a readable file, row.csv is not (No such file"),
        (["data.tokenizer=bert_tny_en_uncased"], "'bert_tny_en_uncased' is no directory here and no known id; did you"),
        (
            ["model.objective=replaced", "model.init_from=bert_tiny_en_uncased", "model.replaced.generator=there"],
            "'there' is no directory here and no known id",
        ),
        (["labels.init_from=runs/best"], "'runs/best' is no directory here and no known id"),
        # It has no such columns.
        (["labels.data.label=stars"], "rows.csv must have the column 'stars', it has 'text', 'label'"),
        (["labels.data.validation=[rest.csv]"], "rest.csv must have the column 'label', it has 'text'"),
        (["labels.data.test_text=body"], "rest.csv must have the column 'body', it has 'text'"),
        # Options and settings.
        (["words.vocabulary_size=99999999"], "step words: vocabulary_size must be at most"),
        (["score.max_rows=0"], "step score: --max-rows must be at least 1, got 0"),
        (["score.mask_rate=2"], "step score: --mask-rate must be above 0 and at most 1, got 2.0"),
        (["score.label=x"], "step score: --label tells a column of --examples, got it without one"),
        (["out.target=folder"], "step out: a preset is published at hf://, kaggle:// or a URL"),
        (["out.private=true", "out.target=memory://a/b"], "step out: --private is for hf://, got memory://a/b"),
        (["ours.rows.sequence_length=[64, 128]"], "rows of `adapt` have one length, got [64, 128]"),
        (["ours.optimizer.learning_rate=-1"], "optimizer.learning_rate"),
        (["steps.model.options=[--nonsense]"], "of `clozekit train`: unrecognized arguments: --nonsense"),
        (["steps.words.options=[--num-workers, many]"], "of `clozekit vocab`: argument --num-workers: invalid int"),
    ],
)
def test_what_a_command_would_refuse(folder: Path, changes: list[str], says: str) -> None:
    with pytest.raises(InputError) as error:
        look_at(folder, *changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value) and "settings.yaml" not in str(error.value)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("step", "where", "output", "says"),
    [
        ("model", {"platform": "gke"}, HERE, "a job for gke needs the key image, model-"),
        ("model", GKE, "out", "dataset must be where the workers of gke reach it (gs://bucket/...), got 'out/steps/"),
        ("model", {**GKE, "num_workers": 2, "accelerators": {"kind": "tpu-v5"}}, HERE, "set num_workers=1"),
        ("model", {**GKE, "output": f"{HERE}/x"}, HERE, "output in where of step model of recipe.yaml must be the"),
        ("model", {"platform": "vertex", "image": "i"}, HERE, "a job for vertex needs the key project"),
        ("model", {"platform": "slurm", "provisioning": "flex_start"}, "out", "on Slurm must be standard or spot"),
        ("model", {"platform": "slurm", "budget": {"hours": 0.01}}, "out", "budget must leave more than 120 seconds"),
        ("data", {"platform": "dataflow"}, HERE, "a job for dataflow needs the key project"),
        ("data", {"platform": "spark"}, HERE, "a job for spark needs the key spark.job_endpoint"),
        ("data", {"platform": "flink", "flink": {"rest_address": "a:1"}}, HERE, "needs Beam's job server"),
        (
            "data",
            {
                "platform": "dataflow",
                "image": "i",
                "project": "p",
                "region": "europe-west4",
                "dataflow": {"temp_location": "gs://b/t"},
            },
            HERE,
            "inputs must be where Dataflow's workers reach it (gs://bucket/...), got 'docs/*.txt'",
        ),
    ],
)
def test_what_a_platform_would_refuse(folder: Path, step: str, where: Any, output: str, says: str) -> None:
    with_where(folder, step, where, output)
    with pytest.raises(InputError) as error:
        look_at(folder)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tpu_is_told_where_its_step_writes(folder: Path) -> None:
    tpu = {"platform": "tpu", "image": "i", "project": "p", "zone": "europe-west4-b", "accelerators": {"kind": "v5e-8"}}
    with_where(folder, "model", tpu, HERE)
    model = look_at(folder, until="model")[-1]
    assert job_of(model.step, model.fingerprint, model.folder, model.place)["output"] == model.place


def test_what_another_step_writes_or_another_machine_has_is_not_asked_for(folder: Path) -> None:
    changes = ["data.output=mine", "model.dataset=mine/len", "steps.model.after=[data]"]
    assert len(look_at(folder, *changes)) == len(STEPS)
    # By its place alone, of a step that comes first for another reason.
    assert (
        len(
            look_at(
                folder, "words.output=words", "model.dataset=words", "model.init_from=${words.output}", until="model"
            )
        )
        == 2
    )
    with_where(folder, "model", "slurm")
    assert len(look_at(folder, "model.dataset=/on/the/cluster", until="model")) == 1
    # What was there when it was made is not there any more, and nobody needs it.
    with pytest.raises(InputError, match="'/on/the/cluster', where nothing is"):
        look_at(folder, "model.dataset=/on/the/cluster", "steps.model.where=local", until="model")


def test_an_extra_that_a_step_needs_is_asked_for_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clozekit.tokenizers.common import extras

    monkeypatch.setattr(extras, "_is_installed", lambda name: name != "tfx_bsl")
    with pytest.raises(MissingExtraError, match=r"step words needs .*clozekit\[pipelines\]"):
        look_at(folder)


def test_an_export_asks_for_no_platform_s_library_and_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_where(folder, "model", GKE, "gs://bucket/out")
    monkeypatch.chdir(folder)
    steps = copy.deepcopy(STEPS)
    steps["words"]["vocab"]["read"]["inputs"] = ["gs://bucket/docs"]
    workflow = load_workflow("recipe.yaml", ["words.read.inputs=[gs://bucket/docs]"])
    assert [one.step for one in exported(workflow, "words", "i", {}, words_of).tasks] == ["words"]
