"""A checkpoint of a run as a preset: what the run says its model is, with the checkpoint's weights."""

from collections.abc import Sequence
from pathlib import Path

import keras

from clozekit.model.common.tensors import Settings
from clozekit.model.presets.keras_preset import KerasPreset, own_variables
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.task import Task
from clozekit.model.training.run_directory.checkpoints import DamagedCheckpointError, Saved, read_weights
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.open_preset import PresetFiles


class CheckpointPreset(KerasPreset):
    """files: of the preset without weights that the run wrote; saved: the checkpoint."""

    def __init__(self, files: PresetFiles, config: Settings, saved: Saved) -> None:
        super().__init__(files, config)
        self.source = saved.path
        self.saved = saved

    def weight_files(self) -> list[Path]:
        """None: a checkpoint's may lie at a URL, and its shapes are held against the model's before they are taken."""
        return []

    def load_backbone_weights(self, backbone: Backbone, needs_pooler: bool = True) -> None:
        """Raises InputError naming the checkpoint when it is damaged, or of another model."""
        backbone.has_loaded_pooler = self.has_loaded_pooler()
        self._assign(backbone.weights, [backbone.token_embedding.embeddings])

    def load_head_weights(self, task: Task) -> None:
        """Raises InputError naming the checkpoint when it is damaged, or of another model."""
        variables = [one for layer in task.head_layers().values() for one in own_variables(layer).values()]
        is_masked_lm = isinstance(task, MaskedLM)
        self._assign(variables, [*task.token_tables(), task.masked_lm_head.parts().bias] if is_masked_lm else [])

    def _assign(self, variables: Sequence[keras.Variable], of_vocabulary: Sequence[keras.Variable]) -> None:
        shapes = {variable.path: tuple(variable.shape) for variable in variables}
        try:
            values = read_weights(self.saved, shapes, [one.path for one in of_vocabulary if one.path in shapes])
        except DamagedCheckpointError as error:
            raise InputError(
                f"a checkpoint must be whole and of the model that its run describes, {self.source} is not"
                f" ({' '.join(str(error).split())[:300]}); take another one"
            ) from error
        for variable in variables:
            variable.assign(values[variable.path])
