"""Presets: tasks, backbones and preprocessors from a name, a handle or a directory, and back into one."""

import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from clozekit.model.common.preset_sizes import check_blocks, check_fits_memory, check_fits_weights, least_parameters
from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family import Family
from clozekit.model.families.family_table import class_for, families_of, preprocessor_class
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.presets.keras_preset import (
    CONFIG_FILE,
    OWN_FILE,
    KerasPreset,
    keep_own_settings,
    parts_of,
    read_json,
    write_description,
    write_preset,
)
from clozekit.model.presets.lineage import LINEAGE_FILE, Lineage, lineage_to_json
from clozekit.model.presets.lineage_file import Origin
from clozekit.model.presets.preset_targets import add_to_preset, write_whole_preset
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BuiltinPreset, presets_of
from clozekit.tokenizers.hub.open_preset import PresetFiles, open_preset
from clozekit.tokenizers.tokenizer import Tokenizer

DEFAULT_SEQUENCE_LENGTH = 512


class PresetSource(Protocol):
    """What a layout of presets tells of one preset."""

    source: str
    files: PresetFiles
    family: Family

    def backbone_settings(self) -> Settings: ...
    def quantized_policy(self) -> DType: ...
    def weight_files(self) -> list[Path]: ...
    def head_settings(self, kind: str) -> Settings | None: ...
    def preprocessor_settings(self, kind: str) -> Settings: ...
    def tokenizer(self) -> Tokenizer: ...
    def load_backbone_weights(self, backbone: Backbone, needs_pooler: bool = True) -> None: ...
    def load_head_weights(self, task: Task) -> None: ...


def builtin_presets_of(cls: type) -> dict[str, BuiltinPreset]:
    """Name -> built-in preset, of all that `cls` loads."""
    return presets_of(family.name for family in families_of(cls))


def open_source(preset: str | Path) -> PresetSource:
    """The preset behind a name, handle, URL or directory, in whichever layout it is, or behind a path into a run."""
    # `run/best` is no folder, and a run's folder is no preset.
    may_be_of_run = "://" not in str(preset) and not Path(preset).is_dir() and Path(preset).parent.is_dir()
    found = _source_of_run(str(preset)) if may_be_of_run else None
    if found is not None:
        return found
    files = open_preset(preset)
    path = files.path(CONFIG_FILE, required=False)
    if path is None:
        found = _source_of_run(str(preset))
        if found is not None:
            return found
        raise files.lacks(CONFIG_FILE)
    config = read_json(path, f"{files.source}: {CONFIG_FILE}", described=False)
    if "registered_name" in config or "class_name" in config:
        return KerasPreset(files, read_json(path, f"{files.source}: {CONFIG_FILE}"))
    if "model_type" in config:
        from clozekit.model.presets.huggingface_preset import HuggingFacePreset

        return HuggingFacePreset(files, config)
    raise InputError(
        f"{files.source}: {CONFIG_FILE} must be KerasHub's (registered_name) or Hugging Face's (model_type), it is neither"
    )


def _source_of_run(path: str) -> PresetSource | None:
    """The model that a path into a run names; None where it names none."""
    if path.startswith(("hf://", "kaggle://")):
        return None
    # Here, and TensorFlow with it, for paths that are no preset alone.
    from clozekit.model.presets.checkpoint_preset import CheckpointPreset
    from clozekit.model.training.run_directory.run_models import find_run_model

    found = find_run_model(path)
    if found is None or found.saved is None:
        return None if found is None else open_source(found.preset)
    files = open_preset(found.preset)
    config = read_json(files.required_path(CONFIG_FILE), f"{files.source}: {CONFIG_FILE}")
    return CheckpointPreset(files, config, found.saved)


def build_backbone(
    source: PresetSource,
    dtype: DType = None,
    load_weights: bool = True,
    num_classes: int = 0,
    changes: Settings | None = None,
) -> Backbone:
    """The backbone of a preset; it is held against the size of the weights, or of the memory, before it is built.

    changes: constructor arguments in the place of the preset's.
    """
    settings, named = {**source.backbone_settings(), **(changes or {})}, f"{source.source}: {CONFIG_FILE}"
    quantized = source.quantized_policy()
    if quantized is not None and dtype is not None and load_weights:
        raise InputError(
            f"{source.source} is quantized, its weights can't be loaded with dtype={dtype!r}; leave dtype out, or pass"
            " load_weights=False for fresh weights"
        )
    dtype = quantized if dtype is None else dtype
    parameters = least_parameters(settings, num_classes)
    files = source.weight_files() if load_weights else []
    if files:
        # Two numbers of four bits to a byte.
        check_fits_weights(parameters // 2 if quantized else parameters, files, named)
    check_fits_memory(parameters, named)
    check_blocks(settings, named)
    try:
        return source.family.backbone(**settings, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{source.source}: {CONFIG_FILE} must hold the settings of a {source.family.backbone.__name__}, it does"
            f" not ({error})"
        ) from error


def load_backbone(cls: type[Backbone], preset: str | Path, load_weights: bool, changes: Settings) -> Backbone:
    """The backbone of a preset. Raises InputError when the preset can't be had, is not whole or of another family."""
    source = open_source(preset)
    found: type[Backbone] = class_for(cls, source.family, source.source)
    _check_arguments(found, changes, {"settings"})
    own = {name: value for name, value in changes.items() if name != "dtype"}
    dtype: DType = changes.get("dtype")
    backbone = build_backbone(source, dtype, load_weights, changes=own)
    if load_weights:
        source.load_backbone_weights(backbone)
    return backbone


def load_preprocessor(cls: type[Preprocessor], preset: str | Path, changes: Settings) -> Preprocessor:
    """The preprocessor of a preset, with `changes` to its settings."""
    source = open_source(preset)
    found: type[Preprocessor] = class_for(cls, source.family, source.source)
    _check_arguments(found, changes, {"tokenizer"})
    return build_preprocessor(found, source, changes)


def build_preprocessor(cls: type[Preprocessor], source: PresetSource, changes: Settings) -> Preprocessor:
    """A preprocessor with the preset's settings, or with rows as long as its positions allow, at most 512."""
    settings = source.preprocessor_settings(cls.kind.removesuffix("_preprocessor"))
    positions = source.backbone_settings().get("max_sequence_length", DEFAULT_SEQUENCE_LENGTH)
    default = {"sequence_length": min(DEFAULT_SEQUENCE_LENGTH, positions)}
    try:
        return cls(source.tokenizer(), **{**default, **settings, **changes})
    except TypeError as error:
        raise InputError(
            f"{source.source} must hold the settings of a {cls.__name__}, it does not ({error})"
        ) from error


def load_task(cls: type[Task], preset: str | Path, load_weights: bool, arguments: Settings) -> Task:
    """See `Task.from_preset`."""
    source = open_source(preset)
    found: type[Task] = class_for(cls, source.family, source.source)
    _check_arguments(found, arguments, {"backbone"}, {"dtype"})
    head = source.head_settings(found.kind)
    settings = {**(head or {}), **arguments}
    dtype = settings.pop("dtype", None)
    if "num_classes" in arguments and "labels" not in arguments:
        # A new head: the names of the old one's classes are not its own, nor what they mean.
        settings.pop("labels", None)
        if "problem" not in arguments:
            settings.pop("problem", None)
    if found.needs_num_classes and "num_classes" not in settings:
        raise TypeError(
            f"{found.__name__}.from_preset needs num_classes: {source.source} was saved without such a head"
        )
    num_classes = settings.get("num_classes", 0) if "num_classes" not in arguments else 0
    backbone = build_backbone(source, dtype, load_weights, num_classes)
    if "preprocessor" not in settings:
        settings["preprocessor"] = build_preprocessor(preprocessor_class(source.family, found.kind), source, {})
    task = found(backbone, **settings)
    if load_weights:
        source.load_backbone_weights(backbone, needs_pooler=found.uses_pooler or bool(settings.get("pair_head")))
        if head is not None and "num_classes" not in arguments:
            source.load_head_weights(task)
        elif task.has_task_weights() and not found.needs_num_classes:
            head_name = "masked-LM head" if found.kind == "masked_lm" else "such head"
            warnings.warn(
                f"{source.source} has no {head_name}; this {found.__name__} starts with a random one and guesses at"
                " random until it was trained",
                stacklevel=4,
            )
    return task


def _check_arguments(cls: type, arguments: Settings, taken: set[str], more: Iterable[str] = ()) -> None:
    known = set(more)
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is not None and base.__module__.startswith("clozekit."):
            parameters = inspect.signature(constructor).parameters.values()
            known |= {parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD}
    known -= {"self", "inputs", "outputs", *taken}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise TypeError(
            f"{cls.__name__}.from_preset takes {', '.join(sorted(known))}; it was given {', '.join(unknown)} too."
            " Settings of the preprocessor belong to its own from_preset (sequence_length=...)"
        )


def save_description(preset_dir: str | Path, task: Task, vocabulary_size: int, lineage: Lineage) -> None:
    """Writes a preset without its weights, whole or not at all: what a checkpoint lacks to be a model.

    vocabulary_size: of the model as it will be saved, where the task's is filled up. lineage: of the run.
    """
    changes = {"vocabulary_size": vocabulary_size}

    def write(directory: Path) -> None:
        write_description(directory, task.backbone, task.preprocessor, task, changes)
        (directory / LINEAGE_FILE).write_text(lineage_to_json(lineage), encoding="utf-8", newline="\n")

    write_whole_preset(preset_dir, write)


def has_loaded_pooler(preset_dir: str | Path) -> bool:
    """Whether what a preset describes, with weights or without, has a pooler that came with a checkpoint though it looks fresh."""
    try:
        source = open_source(preset_dir)
    except InputError:
        return False
    return isinstance(source, KerasPreset) and source.has_loaded_pooler()


def save_preset(
    preset_dir: str | Path,
    task: Task | None = None,
    backbone: Backbone | None = None,
    preprocessor: Preprocessor | None = None,
    max_shard_size: float | None = 10,
    origin: Origin | None = None,
) -> None:
    """Writes a preset whole or not at all, into a directory or to a URL (`gs://...`).

    A preset that Clozekit wrote there is replaced when the new one is whole; a preprocessor alone is added to it. origin: what
    its lineage says, where that is known. Raises InputError, before anything is written, when a file is there that Clozekit did
    not write.
    """
    backbone, preprocessor = parts_of(task, backbone, preprocessor)

    def write(directory: Path) -> None:
        write_preset(directory, backbone, preprocessor, task, max_shard_size)
        if backbone is None:
            keep_own_settings(f"{preset_dir}/{OWN_FILE}", directory)

    if backbone is None:
        add_to_preset(preset_dir, write)
    else:
        write_whole_preset(preset_dir, write, origin)
