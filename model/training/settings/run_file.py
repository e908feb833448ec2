"""The configuration of a run from its YAML file, with `key=value` changes on top."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.model.training.settings.loop_settings import one_length
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS
from clozekit.tokenizers.settings.settings_files import apply_changes, make_settings, read_given


def load_config(path: str | Path | None, changes: Sequence[str] = ()) -> RunSettings:
    """The configuration of `clozekit train` in a YAML file, with changes on top.

    Args:
        path: of the file; None where the changes are everything.
        changes: such as "train.steps=200". A length in another unit takes the place of the file's.

    Returns:
        The settings, checked.

    Raises:
        InputError: naming the key, for one that is unknown, missing, of another type or out of its bounds.

    Example:

        >>> from clozekit.model.training.settings.run_file import load_config
        >>> config = load_config("tiny/config.yaml", ["train.steps=200", "model.family=roberta"])
        >>> config.train.steps, config.model.family, config.optimizer.learning_rate
        (200, 'roberta', 0.001)
    """
    fields, source = read_given(path)
    one_length(fields, changes)
    apply_changes(fields, changes)
    return make_config(fields, source)


def make_config(fields: dict[str, Any], source: str) -> RunSettings:
    """The configuration that the keys of its file make; source: whose they are, in an error. See `load_config`."""
    if isinstance(fields.get("model"), Mapping):
        fields["model"] = _with_preset(fields["model"])
    return typing.cast(RunSettings, make_settings(RunSettings, fields, source, one_is_a_list=True))


def _with_preset(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model with those of the built-in preset that it names below them."""
    preset = BUILTIN_PRESETS.get(str(fields.get("preset")))
    if preset is None:
        return dict(fields)
    # Positions are as many as the rows need.
    names = {entry.name for entry in dataclasses.fields(ModelSettings)} - {"max_sequence_length"}
    dimensions = {name: value for name, value in preset.config.items() if name in names}
    return {"family": preset.family, **dimensions, **fields}
