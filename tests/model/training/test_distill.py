"""Pretraining from a teacher: the student comes nearer to it, the teacher stays as it is, and runs go on as without one."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from recording import Recorder

from clozekit.model import MaskedLM, TextClassifier
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.training.controller import Run
from clozekit.model.training.dry_run import dry_run
from clozekit.model.training.load_teacher import weights_sha256
from clozekit.model.training.objectives.masked_lm_objective import OBJECTIVE
from clozekit.model.training.reports.compare_runs import compared, rows_of
from clozekit.model.training.reports.pretraining_report import write_run_report
from clozekit.model.training.run_directory.run_log import MEASURED, METRICS_FILE, read_metrics
from clozekit.model.training.run_directory.run_state import read_run
from clozekit.model.training.settings.loop_settings import CheckpointSettings, DistillSettings, OptimizerSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import EvaluateSettings, ModelSettings, RunSettings, TrainSettings
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.bert_tokenizer import BertTokenizer

LARGE = ModelSettings(num_layers=2, num_heads=2, hidden_dim=32, intermediate_dim=64, dropout=0.0)
SMALL = ModelSettings(num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1)


def config_for(dataset: str, directory: Path, teacher: str | None, **changes: Any) -> RunSettings:
    fields: dict[str, Any] = {
        "model": SMALL,
        "train": TrainSettings(steps=12, global_batch_size=8, steps_per_loop=2, xla=False),
        "optimizer": OptimizerSettings(learning_rate=0.01),
        "checkpoint": CheckpointSettings(every_steps=4, keep=9),
        "evaluate": EvaluateSettings(every_steps=6, max_rows=32),
        "distill": None if teacher is None else DistillSettings(teacher),
    }
    return RunSettings(dataset, str(directory), **{**fields, **changes})


def curve(directory: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in entry.items() if k not in MEASURED} for entry in read_metrics(directory / METRICS_FILE)]


@pytest.fixture(scope="module")
def teacher(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of a larger model that has learned something."""
    directory = tmp_path_factory.mktemp("teacher") / "run"
    train = TrainSettings(steps=150, global_batch_size=16, steps_per_loop=50, xla=False)
    small_dataset, evaluate = dataset[0], EvaluateSettings(every_steps=150, max_rows=32)
    Run(config_for(small_dataset, directory, None, model=LARGE, train=train, evaluate=evaluate)).train()
    return str(directory)


@pytest.fixture(scope="module")
def student(dataset: tuple[str, Manifest], teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 12 steps, done."""
    run = Run(config_for(dataset[0], tmp_path_factory.mktemp("student") / "run", teacher))
    run.train()
    return run


def test_the_log_the_report_and_comparisons_have_the_distance_from_the_teacher(
    student: Run, dataset: tuple[str, Manifest], teacher: str
) -> None:
    entries = [entry for entry in curve(Path(student.directory)) if entry["kind"] == "train"]
    assert len(entries) == 6
    assert all(entry["distillation_loss"] > 0 for entry in entries)
    assert entries[-1]["distillation_loss"] < entries[0]["distillation_loss"]
    page = Path(write_run_report(student, student.evaluate())).read_text(encoding="utf-8")
    assert "Distillation loss" in page
    rows = dict(rows_of(compared([read_run(student.directory), read_run(teacher)]), None))
    assert rows["distillation loss"] == [f"{entries[-1]['distillation_loss']:.4f}", "-"]


def test_the_teacher_is_not_trained_and_not_saved(student: Run, teacher: str) -> None:
    assert student.teacher is not None
    assert student.teacher.task.trainable_variables == []
    again = MaskedLM.from_preset(f"{teacher}/preset", compile=False)
    assert weights_sha256(again) == student.teacher.sha256 == weights_sha256(student.teacher.task)
    saved = student.checkpoints.found()[-1]
    there = tf.train.load_checkpoint(f"{saved.path}/variables").get_variable_to_shape_map()
    assert sorted(name for name in there if name.startswith("model/")) == sorted(
        f"model/{weight.path}" for weight in student.task.weights
    )
    size = sum(int(np.prod(shape)) for name, shape in there.items() if not name.startswith("_"))
    assert size == 3 * student.task.count_params() - _unused(student) + 1


def _unused(run: Run) -> int:
    """Two moments for each weight that is not trained: the pooler's."""
    return 2 * sum(int(np.prod(weight.shape)) for weight in run.task.non_trainable_weights)


def test_stopped_and_gone_on_it_is_as_if_never_stopped(
    student: Run, dataset: tuple[str, Manifest], teacher: str, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(student.directory, directory)
    shutil.rmtree(directory / "preset")
    for path in (directory / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > 4:
            shutil.rmtree(path)
    # What the teacher is decides, not where it lies: its last checkpoint has the weights of its preset.
    Run(config_for(dataset[0], directory, f"{teacher}/latest")).train()
    assert curve(directory) == curve(Path(student.directory))
    a, b = (MaskedLM.from_preset(f"{path}/preset").get_weights() for path in (directory, student.directory))
    assert all((one == other).all() for one, other in zip(a, b, strict=True))
    # The teacher that it began with is the one that is named.
    first, second = (lineage_of(f"{path}/preset") for path in (directory, student.directory))
    assert first == second
    assert first.of("run")[0].before("teacher") == [lineage_of(f"{teacher}/preset")]


def test_with_another_teacher_or_none_a_run_does_not_go_on(
    student: Run, dataset: tuple[str, Manifest], teacher: str, tmp_path: Path
) -> None:
    directory = Path(student.directory)
    MaskedLM.from_preset(f"{teacher}/preset", load_weights=False).save_to_preset(str(tmp_path / "other"))
    changes = ((str(tmp_path / "other"), "teacher_sha256 was '"), (None, "distill.weight was 0.5, is None"))
    for other, changed in changes:
        with pytest.raises(InputError, match=re.escape(changed)):
            Run(config_for(dataset[0], directory, other)).train()
    softer = DistillSettings(teacher, temperature=3.0)
    with pytest.raises(InputError, match=re.escape("distill.temperature was 2.0, is 3.0")):
        Run(config_for(dataset[0], directory, None, distill=softer)).train()


@pytest.fixture(scope="module")
def alone(dataset: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """A run of 60 steps without a teacher, done, and its loss."""
    run = Run(
        config_for(
            dataset[0],
            tmp_path_factory.mktemp("alone") / "run",
            None,
            train=TrainSettings(steps=60, global_batch_size=8, steps_per_loop=20, xla=False),
            evaluate=EvaluateSettings(every_steps=60, max_rows=64),
            checkpoint=CheckpointSettings(keep=1),
        )
    )
    return run, run.train()["loss"]


def test_with_weight_0_the_curve_is_that_without_a_teacher(
    alone: tuple[Run, float], teacher: str, tmp_path: Path
) -> None:
    watched = dataclasses.replace(
        alone[0].config, directory=str(tmp_path / "watched"), distill=DistillSettings(teacher, weight=0.0)
    )
    Run(watched).train()
    taught = curve(tmp_path / "watched")
    assert [{k: v for k, v in entry.items() if k != "distillation_loss"} for entry in taught] == curve(
        Path(alone[0].directory)
    )
    assert all(entry["distillation_loss"] > 0 for entry in taught if entry["kind"] == "train")


def test_a_student_learns_faster_than_alone(alone: tuple[Run, float], teacher: str, tmp_path: Path) -> None:
    distill = DistillSettings(teacher, temperature=1.0, weight=0.9)
    taught = Run(dataclasses.replace(alone[0].config, directory=str(tmp_path / "taught"), distill=distill))
    losses, apart = [taught.train()["loss"], alone[1]], []
    assert taught.evaluator is not None and OBJECTIVE.distillation is not None
    batch = next(iter(taught.evaluator._batches))
    other = MaskedLM.from_preset(f"{teacher}/preset", compile=False).masked_outputs(batch)
    for run in (taught, alone[0]):
        distance = OBJECTIVE.distillation(run.task.masked_outputs(batch), other, batch, 1.0)
        apart.append(float(distance / tf.reduce_sum(batch["mask_weights"])))
    assert losses[0] < losses[1] - 0.02, losses
    assert apart[0] < apart[1] - 0.02, apart


def test_a_student_of_another_family_with_the_same_vocabulary(
    dataset: tuple[str, Manifest], teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DistilBERT's own way: no segments, BERT's tokenizer under another name; in half precision."""
    model = dataclasses.replace(SMALL, family="distil_bert")
    train = TrainSettings(steps=2, global_batch_size=8, steps_per_loop=2, xla=False, precision="mixed_bfloat16")
    run = Run(config_for(dataset[0], tmp_path / "run", teacher, model=model, train=train))
    assert run.teacher is not None
    assert run.teacher.task.backbone.token_embedding.compute_dtype == "bfloat16"
    # The vocabulary of a run is filled up, its teacher's is not.
    assert run.task.backbone.vocabulary_size > run.teacher.task.backbone.vocabulary_size
    run.train()
    (entry,) = (entry for entry in curve(tmp_path / "run") if entry["kind"] == "train")
    assert 0 < entry["distillation_loss"] < 10


def test_a_run_begins_with_its_teacher_and_goes_on_from_its_checkpoint(
    dataset: tuple[str, Manifest], teacher: str, tmp_path: Path
) -> None:
    taught = DistillSettings(teacher, init_student="every_other")
    short = TrainSettings(steps=4, global_batch_size=8, steps_per_loop=1, xla=False)
    config = RunSettings(dataset[0], str(tmp_path / "student"), distill=taught, train=short)
    first = Run(config, callbacks=[Recorder(2, "stop")])
    assert (first.config.model.num_layers, first.config.model.hidden_dim) == (1, 32)
    random = first.evaluate()["loss"]
    first.begin_anew()
    begun = first.evaluate()["loss"]
    assert begun < random - 0.3
    first.train()
    again = Run(config)
    assert again.train()["loss"] < begun + 0.1
    assert [entry["step"] for entry in curve(tmp_path / "student") if entry["kind"] == "train"] == [1, 2, 3, 4]


def test_a_dry_run_counts_the_teacher(dataset: tuple[str, Manifest], teacher: str, tmp_path: Path) -> None:
    lines = list(dry_run(config_for(dataset[0], tmp_path / "run", teacher)))
    assert not (tmp_path / "run").exists()
    size = MaskedLM.from_preset(f"{teacher}/preset", compile=False).count_params()
    assert f"teacher          {teacher}, {size:,} parameters, not trained" in lines
    (flops,) = (line for line in lines if line.startswith("FLOPs a token"))
    # 0.3 of 32 tokens are 10 slots; the student's vocabulary is filled up, one pass of three is the teacher's.
    pieces = dataset[1].tokenizer.vocabulary_size
    filled_up = -(-pieces // 64) * 64
    forward = [
        layers * (8 * h * h + 4 * h * i + 4 * h * 32) + 10 / 32 * (2 * h * size + 2 * h * h)
        for layers, h, i, size in ((1, 16, 32, filled_up), (2, 32, 64, pieces))
    ]
    assert flops.startswith(f"FLOPs a token    {3 * forward[0] + forward[1]:,.0f} =")
    assert any(line.startswith("  teacher") for line in lines)


def refused(dataset: str, directory: Path, teacher: str, message: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Run(config_for(dataset, directory, teacher, **changes))
    assert "\n" not in str(caught.value)
    assert not directory.exists()


def test_what_is_no_teacher_is_refused(
    dataset: tuple[str, Manifest], tokenizer: BertTokenizer, teacher: str, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    refused(dataset[0], place, str(tmp_path / "nothing"), "nothing")
    good = MaskedLM.from_preset(f"{teacher}/preset", compile=False)
    good.backbone.save_to_preset(str(tmp_path / "headless"))
    good.preprocessor.save_to_preset(str(tmp_path / "headless"))
    refused(
        dataset[0], place, str(tmp_path / "headless"), "distill.teacher must have the head of a MaskedLM, .* has none"
    )
    classifier = TextClassifier.from_preset(f"{teacher}/preset", num_classes=2, compile=False)
    classifier.save_to_preset(str(tmp_path / "classifier"))
    refused(dataset[0], place, str(tmp_path / "classifier"), "distill.teacher must have the head of a MaskedLM")
    shuffled = BertTokenizer(
        [*tokenizer.get_vocabulary()[:5], *reversed(tokenizer.get_vocabulary()[5:])], lowercase=True
    )
    other = type(good)(good.backbone, type(good.preprocessor)(shuffled, sequence_length=16), compile=False)
    other.save_to_preset(str(tmp_path / "shuffled"))
    refused(
        dataset[0],
        place,
        str(tmp_path / "shuffled"),
        "must have the tokenizer of its student, so that ids mean the same",
    )
    short = type(good.backbone)(**{**good.backbone.settings(), "max_sequence_length": 16})
    type(good)(short, type(good.preprocessor)(tokenizer, sequence_length=16), compile=False).save_to_preset(
        str(tmp_path / "short")
    )
    refused(
        dataset[0], place, str(tmp_path / "short"), "must have positions for rows of 32 tokens, got 16; make rows of"
    )
    refused(dataset[0], place, teacher, "goes beside what it is made from", preset=f"{teacher}/preset")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["distill.weight=1.5"], "distill.weight must be from 0 to 1, got 1.5"),
        (["distill.weight=-0.1"], "distill.weight must be from 0 to 1, got -0.1"),
        (["distill.temperature=0"], "distill.temperature must be above 0, got 0.0"),
        (
            ["objective=mine:loss"],
            "objective and distill are two losses, a run has one of them, got 'mine:loss'; leave one out",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("dataset: dataset\ndirectory: run\ndistill: {teacher: preset}\n", encoding="utf-8")
    assert load_config(path).distill == DistillSettings("preset", 2.0, 0.5)
    with pytest.raises(InputError, match=re.escape(message)):
        load_config(path, changes)
    with pytest.raises(InputError, match="the key distill.teacher is needed"):
        load_config(path, ["distill={weight: 1}"])
