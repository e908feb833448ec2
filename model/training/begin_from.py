"""`init_from`: a new run that begins with the weights of a preset or of another run's checkpoint, and nothing else."""

import tensorflow as tf

from clozekit.model.families.vocabulary_padding import padded_size, with_vocabulary
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.run_directory.checkpoint_state import state_from_json
from clozekit.model.training.run_directory.checkpoints import (
    STATE_FILE,
    DamagedCheckpointError,
    Saved,
    read_values,
    variable_kind,
)
from clozekit.model.training.run_directory.small_files import read_text
from clozekit.tokenizers.common.errors import InputError


def begin_from(task: MaskedLM, source: str, vocabulary_multiple: int) -> None:
    """Gives the task's weights the values in `source`: a checkpoint's folder (`.../checkpoints/step-00001000`), or a
    preset by name, handle or directory. Raises InputError when they are those of another model."""
    state_file = f"{source.rstrip('/')}/{STATE_FILE}"
    if tf.io.gfile.exists(state_file):
        _from_checkpoint(task, source.rstrip("/"), state_file)
    else:
        _from_preset(task, source, vocabulary_multiple)


def _from_checkpoint(task: MaskedLM, source: str, state_file: str) -> None:
    kinds = {f"model/{weight.path}": variable_kind(weight) for weight in task.weights}
    try:
        values = read_values(Saved(source, state_from_json(read_text(state_file))), kinds)
    except (DamagedCheckpointError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"init_from must be a whole checkpoint of a model like this one, {source} is not"
            f" ({' '.join(str(error).split())[:300]}); take another one or the dimensions it was made with"
        ) from error
    for weight in task.weights:
        weight.assign(values[f"model/{weight.path}"])


def _from_preset(task: MaskedLM, source: str, multiple: int) -> None:
    other = MaskedLM.from_preset(source, compile=False)
    if padded_size(other.backbone.vocabulary_size, multiple) == task.backbone.vocabulary_size:
        other = with_vocabulary(other, task.backbone.vocabulary_size)
    shapes, needed = ([tuple(weight.shape) for weight in model.weights] for model in (other, task))
    if type(other) is not type(task) or shapes != needed:
        settings = {
            name: (value, task.backbone.settings().get(name))
            for name, value in other.backbone.settings().items()
            if value != task.backbone.settings().get(name)
        }
        raise InputError(
            f"init_from must hold the weights of a model like this one, {source} is a {type(other).__name__} and this a"
            f" {type(task).__name__}; they differ in {settings or 'their heads'} (there, here)"
        )
    task.set_weights(other.get_weights())
