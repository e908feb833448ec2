"""`distill.init_student`: a student that begins with every other layer of its teacher, and with its embeddings and head."""

import re

import keras
import numpy as np

from clozekit.model.families.vocabulary_padding import close_padding
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.tokenizers.common.errors import InputError

_LAYER = re.compile(r"(?<=^transformer_layer_)\d+(?=/)")
# Families have the two tables alone, or in a layer of both.
_BOTH_TABLES = re.compile(r"^[^/]+/(?=(?:token|position)_embedding/)")
_POSITIONS, _SEGMENTS = "position_embedding/embeddings", "segment_embedding/embeddings"


def init_student(student: MaskedLM, teacher: MaskedLM) -> None:
    """Gives the student, whose sizes are the teacher's, layers 0, 2, 4 and so on of it, and everything else that both have.

    A student without segments reads what the teacher reads in segment A: that row of the table is added to all positions. ALBERT's
    layers share their weights, so all of them stay. Raises InputError for a teacher whose weights are not of this shape.
    """
    theirs = {_place(weight): keras.ops.convert_to_numpy(weight) for weight in teacher.weights}
    ours = {_place(weight): weight for weight in student.weights}
    if _SEGMENTS in theirs and _SEGMENTS not in ours:
        theirs[_POSITIONS] = theirs[_POSITIONS] + theirs[_SEGMENTS][:1]
    for place, weight in ours.items():
        value = theirs.get(_LAYER.sub(lambda number: str(2 * int(number[0])), place))
        if value is not None and place == _POSITIONS:
            value = value[: weight.shape[0]]
        elif value is not None and value.ndim and value.shape[0] == teacher.backbone.vocabulary_size:
            value = np.concatenate([value, np.zeros((weight.shape[0] - len(value), *value.shape[1:]), value.dtype)])
        if value is None or value.shape != tuple(weight.shape):
            raise InputError(
                f"distill.init_student takes weights of distill.teacher, which has {'none' if value is None else value.shape}"
                f" for {weight.path}, {tuple(weight.shape)} in the student; leave it out, or take a teacher that is not quantized"
            )
        weight.assign(value)
    student.backbone.has_loaded_pooler = teacher.backbone.has_loaded_pooler and "pooled_dense/kernel" in ours
    close_padding(student, teacher.backbone.vocabulary_size)


def _place(weight: keras.Variable) -> str:
    return _BOTH_TABLES.sub("", str(weight.path))
