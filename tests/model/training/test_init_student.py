"""A student that begins with every other layer of its teacher computes what those layers compute, in every family."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_families
from long_variants import FULL

from clozekit.model import MaskedLM
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.presets.load_presets import open_source
from clozekit.model.training.architecture import of_teacher
from clozekit.model.training.build_task import build_task
from clozekit.model.training.init_student import init_student
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
from clozekit.model.training.settings.loop_settings import DistillSettings
from clozekit.model.training.settings.run_file import load_config
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings
from clozekit.tokenizers.common.errors import InputError

# What a student would not have by itself.
UNUSUAL = {"activation": "relu", "layer_norm_epsilon": 1e-3}
HEAD = {"head_activation": "silu", "head_layer_norm_epsilon": 1e-4}
NOTHING = ModelSettings()


def sizes(name: str, num_layers: int) -> dict[str, Any]:
    return {**UNUSUAL, **small_families.GROUPS.get(name, {}), "num_layers": num_layers}


def teacher_of(name: str, directory: Path, num_layers: int) -> tuple[MaskedLM, str]:
    task = small_families.masked_lm(name, small_families.masked_lm_preprocessor(name), sizes(name, num_layers), **HEAD)
    task.save_to_preset(str(directory))
    return task, str(directory)


def student_of(teacher: MaskedLM, preset: str, said: ModelSettings = NOTHING) -> MaskedLM:
    """As a run makes it, its vocabulary no longer filled up."""
    distill = DistillSettings(preset, init_student="every_other")
    config = RunSettings("dataset", "run", distill=distill, model=said)
    size = teacher.backbone.vocabulary_size
    task = build_task(config, of_teacher(open_source(preset), config.model, size, 12))
    assert task.backbone.vocabulary_size % 64 == 0
    init_student(task, teacher)
    return with_vocabulary(task, size)


def every_other(name: str, teacher: Any, num_layers: int) -> MaskedLM:
    """The same layer by layer: a slow, independent way to it."""
    expected: Any = small_families.masked_lm(name, None, sizes(name, num_layers), **HEAD)
    ours, theirs = expected.masked_lm_head.parts(), teacher.masked_lm_head.parts()
    ours.dense.set_weights(theirs.dense.get_weights())
    ours.norm.set_weights(theirs.norm.get_weights())
    ours.bias.assign(theirs.bias)
    for layer in expected.backbone.layers:
        numbered = re.fullmatch(r"transformer_layer_(\d+)", layer.name)
        there = f"transformer_layer_{2 * int(numbered[1])}" if numbered else layer.name
        layer.set_weights(teacher.backbone.get_layer(there).get_weights())
    return expected


# ALBERT's two groups of layers divide no three.
@pytest.mark.parametrize(
    ("name", "num_layers", "kept"),
    [
        *((name, 3, 2) for name in small_families.NAMES if name != "albert"),
        *((name, 4, 2) for name in (small_families.NAMES if FULL else ("albert", "bert"))),
    ],
)
def test_a_student_computes_what_every_other_layer_does(name: str, num_layers: int, kept: int, tmp_path: Path) -> None:
    teacher, preset = teacher_of(name, tmp_path / "teacher", num_layers)
    student = student_of(teacher, preset)
    assert student.backbone.settings() == {**teacher.backbone.settings(), "num_layers": kept}
    assert student.head_settings() == teacher.head_settings()
    rows = small_families.batch(name)
    expected = every_other(name, teacher, kept)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(student(rows)), keras.ops.convert_to_numpy(expected(rows)), rtol=1e-6, atol=1e-6
    )
    assert np.abs(keras.ops.convert_to_numpy(student(rows)) - keras.ops.convert_to_numpy(teacher(rows))).max() > 0.01


def test_a_distil_bert_of_a_bert_reads_what_it_reads_in_segment_a(tmp_path: Path) -> None:
    teacher, preset = teacher_of("bert", tmp_path / "teacher", 4)
    student = student_of(teacher, preset, ModelSettings("distil_bert", max_sequence_length=20))
    assert (type(student).__name__, student.backbone.max_sequence_length) == ("DistilBertMaskedLM", 20)
    rows = small_families.batch("bert")
    rows["segment_ids"] = np.zeros_like(rows["token_ids"])
    expected = every_other("bert", teacher, 2)(rows)
    rows.pop("segment_ids")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(student(rows)), keras.ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        (
            "bert",
            ModelSettings(num_layers=1),
            "every other layer of .* has num_layers 2, got 1; leave model.num_layers",
        ),
        ("bert", ModelSettings(hidden_dim=32), "has hidden_dim 16, got 32"),
        ("bert", ModelSettings(max_sequence_length=64), "to the 32 positions of .*, got 64"),
        ("bert", ModelSettings(max_sequence_length=8), "from the 12 tokens of a row .*, got 8"),
        ("distil_bert", ModelSettings("bert"), "is a distil_bert without all that a bert has; leave model.family out"),
    ],
)
def test_a_student_of_another_shape_is_refused(name: str, said: ModelSettings, message: str, tmp_path: Path) -> None:
    _, preset = teacher_of(name, tmp_path / "teacher", 4)
    with pytest.raises(InputError, match=message) as caught:
        of_teacher(open_source(preset), said, 66, 12)
    assert "\n" not in str(caught.value)


def test_settings_say_where_a_student_begins_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "dataset: dataset\ndirectory: run\ndistill: {teacher: preset, init_student: every_other}\n", encoding="utf-8"
    )
    assert load_config(path).model == ModelSettings()
    with pytest.raises(InputError, match=r"distill.init_student must be .*every_other.*first_half"):
        load_config(path, ["distill.init_student=first_half"])
    with pytest.raises(InputError, match="init_from and distill.init_student both say what a run begins with"):
        load_config(path, ["init_from=preset"])
    distill = DistillSettings("preset", init_student="every_other")
    with pytest.raises(InputError, match="distill.init_student is for pretraining"):
        FinetuneSettings("preset", "run", DataSettings("train.tsv", "text", "label"), distill=distill)
