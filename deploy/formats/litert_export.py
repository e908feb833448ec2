"""A task or a backbone as a LiteRT model (TensorFlow Lite's format): model.tflite, and the tokenizer's files beside it."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from clozekit.deploy.formats.onnx_export import check_plain_floats
from clozekit.deploy.formats.saved_model import ids_signature
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError

MODEL_FILE = "model.tflite"


def write_litert(part: Task | Backbone, preprocessor: Any, directory: Path) -> list[str]:
    """Writes a LiteRT model into an existing directory: the signature of the SavedModel, with builtin operations alone.

    Rows of any number and length, once the interpreter was told them (`resize_tensor_input`): its own are 1 x 1.

    Args:
        part: a masked LM, a text classifier or a backbone.
        preprocessor: whose tokenizer is written beside it; None: none is.
        directory: where the files go.

    Returns:
        Notes on its use, a line each.

    Raises:
        InputError: for a quantized model, and where Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"a LiteRT model needs Keras on tensorflow, it runs on {keras.backend.backend()}; set KERAS_BACKEND"
        )
    check_plain_floats(part, "LiteRT")
    module = tf.Module()
    module.all_variables = [variable.value for variable in part.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([ids_signature(part)], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    (directory / MODEL_FILE).write_bytes(converter.convert())
    if preprocessor is not None:
        preprocessor.tokenizer.save(directory)
    return ["takes int32 ids; the number and length of its rows are set by resizing its inputs"]
