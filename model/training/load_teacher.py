"""`distill`: the teacher of a run, checked against its student, loaded and frozen."""

import hashlib

import keras
import numpy as np

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family_table import task_class
from clozekit.model.families.vocabulary_padding import with_vocabulary
from clozekit.model.presets.load_presets import PresetSource, open_source
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.objectives.distillation import Teacher
from clozekit.model.training.settings.loop_settings import DistillSettings
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.preset_tokenizer import of_class
from clozekit.tokenizers.settings.settings_files import check
from clozekit.tokenizers.tokenizer import Tokenizer


def open_teacher(settings: DistillSettings, kind: type[Task], tokenizer: Tokenizer, longest_row: int) -> PresetSource:
    """What is behind `distill.teacher`. kind: of the student; tokenizer: whose ids both read; longest_row: tokens of it.

    Raises InputError where it can't be had, has no such head, reads other ids or shorter rows.
    """
    source = open_source(settings.teacher)
    if source.head_settings(kind.kind) is None:
        raise InputError(
            f"distill.teacher must have the head of a {kind.__name__}, {settings.teacher} has none; train it first"
            f" ({'`clozekit train`' if issubclass(kind, MaskedLM) else '`clozekit finetune` with the same task'})"
        )
    theirs = source.tokenizer()
    if not _is_same(tokenizer, theirs):
        raise InputError(
            f"distill.teacher must have the tokenizer of its student, so that ids mean the same, {settings.teacher} has a"
            f" {type(theirs).__name__} of {theirs.vocabulary_size()} pieces (sha256 {theirs.sha256()[:12]}), the student a"
            f" {type(tokenizer).__name__} of {tokenizer.vocabulary_size()} ({tokenizer.sha256()[:12]}); train the student"
            " with the teacher's"
        )
    positions = source.backbone_settings()["max_sequence_length"]
    check(
        f"distill.teacher must have positions for rows of {longest_row} tokens",
        positions >= longest_row,
        positions,
        advice=f"make rows of at most {positions}",
    )
    return source


def _is_same(one: Tokenizer, other: Tokenizer) -> bool:
    # DistilBERT's is BERT's under another name.
    return any(of_class(type(b), a).sha256() == b.sha256() for a, b in ((one, other), (other, one)))


def load_teacher(settings: DistillSettings, source: PresetSource, student: Task, precision: str) -> Teacher:
    """The teacher that `open_teacher` found, frozen; to be called in the scope of the student's strategy.

    Raises InputError where its weights are not there or not whole, or its classes are not those of the student.
    """
    dtype = None if precision == "float32" else precision
    # The logits: what a head makes of them stays out.
    raw: Settings = {"activation": None} if isinstance(student, TextClassifier) else {}
    task = task_class(source.family, student.kind).from_preset(
        settings.teacher, dtype=dtype, compile=False, preprocessor=None, **raw
    )
    if isinstance(task, MaskedLM):
        task = _with_pieces_of(task, source.tokenizer(), precision)
    _check_classes(settings.teacher, task, student)
    task.trainable = False
    return Teacher(task, settings.teacher, weights_sha256(task), settings.temperature, settings.weight)


def _with_pieces_of(task: MaskedLM, tokenizer: Tokenizer, precision: str) -> MaskedLM:
    """The task without the rows of its vocabulary that no piece has, as some published checkpoints have."""
    num_pieces = tokenizer.vocabulary_size()
    return task if task.backbone.vocabulary_size == num_pieces else with_vocabulary(task, num_pieces, precision)


def _check_classes(named: str, teacher: Task, student: Task) -> None:
    """Raises InputError unless both predict the same: one problem, the same classes in the same order."""
    for name, what in (("problem", "problem"), ("num_classes", "number of classes"), ("labels", "classes")):
        theirs, ours = (getattr(task, name, None) for task in (teacher, student))
        theirs, ours = (tuple(one) if isinstance(one, list | tuple) else one for one in (theirs, ours))
        # A preset of KerasHub does not say what its classes are called.
        is_unknown = name == "labels" and None in (theirs, ours)
        if theirs != ours and not is_unknown:
            raise InputError(
                f"distill.teacher must have the {what} of its student, {named} has {_shown(theirs)} and the student"
                f" {_shown(ours)}; fine-tune it on the same data, with data.labels in the same order"
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def weights_sha256(task: Task) -> str:
    """A checksum of all weights of a task, in their order."""
    digest = hashlib.sha256()
    for weight in task.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.dtype} {value.shape} ".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
