"""Measuring a fine-tuned preset on a file of examples, by what its kind of fine-tuning is measured by."""

import dataclasses

import numpy as np
import tensorflow as tf

from clozekit.model.presets.finetuned_preset import load_finetuned
from clozekit.model.training.finetuning.kinds.finetune_kind import kind_named
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
from clozekit.tokenizers.common.errors import InputError

# The `kind` of a task, or a text classifier's problem -> the `task` of fine-tuning.
_TASKS = {
    "single_label": "classification",
    "multi_label": "multi_label",
    "regression": "regression",
    "token_classifier": "token_classification",
    "question_answerer": "question_answering",
    "text_embedder": "embedding",
}


def evaluate_examples(preset: str, data: DataSettings, batch_size: int = 32) -> dict[str, object]:
    """Measures a fine-tuned model on labelled examples.

    Args:
        preset: a directory, a built-in name, a handle, a URL, or a run.
        data: data.train is the file to measure on; its columns as of a fine-tuning.
        batch_size: rows at once.

    Returns:
        task and num_examples, loss, and the metrics of the task (0 to 1); of an embedder with data.label those of task=similarity.

    Raises:
        InputError: for a preset without a head of fine-tuning, or whatever is wrong with the file.

    Example:

        >>> from clozekit.model.training.finetuning.evaluate_examples import evaluate_examples
        >>> from clozekit.model.training.settings.finetune_settings import DataSettings
        >>> classifier = models.TextClassifier.from_preset("tiny/preset", num_classes=2, labels=("dogs", "foxes"))
        >>> classifier.save_to_preset("tiny/classifier")
        >>> _ = Path("tiny/measured.csv").write_text("text,label\\nthe fox,foxes\\na dog,dogs\\n")
        >>> sorted(evaluate_examples("tiny/classifier", DataSettings("tiny/measured.csv", "text", "label")))
        ['accuracy', 'f1', 'loss', 'matthews', 'num_examples', 'task']
    """
    task = load_finetuned(preset)
    name = _TASKS[getattr(task, "problem", task.kind)]
    if name == "embedding" and data.label is not None:
        name = "similarity"
    labels = tuple(getattr(task, "labels", None) or map(str, range(getattr(task, "num_classes", 0))))
    names = labels if name in ("classification", "multi_label", "token_classification") else ()
    data = dataclasses.replace(data, labels=names)
    # Checks the columns.
    FinetuneSettings(preset, "", data, task=name)
    kind = kind_named(name)
    examples = kind.read(data.path(data.train), data, False)
    preprocessor = task.preprocessor
    if preprocessor is None:
        raise InputError(f"a measurement needs the preset's tokenizer, {preset} has none; copy it again")
    encoded = kind.encode(examples, kind.labels(examples, names, preset), preprocessor)
    compute = tf.function(lambda batch: tf.cast(task(batch, training=False), tf.float32), autograph=False)
    outputs = encoded.row_set.outputs(lambda batch: np.asarray(compute(batch)), batch_size)
    return {"task": name, "num_examples": len(examples), **kind.metrics(outputs, encoded, examples, names)}
