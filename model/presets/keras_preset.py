"""Presets in KerasHub's layout: its JSON files and .h5 weights, read and written so that KerasHub reads them too.

What KerasHub has no place for stands in a file beside them, `clozekit.json`, which it does not look at. Nothing of a
preset is executed: classes are found by name in our own table, weights are plain arrays.
"""

import importlib.metadata
import json
from pathlib import Path

import h5py
import keras
import numpy as np

from clozekit.model.common.dtype_policies import is_quantized, policy_of_file
from clozekit.model.common.preset_sizes import check_arrays
from clozekit.model.common.tensors import DType, Settings
from clozekit.model.families.family_table import (
    Family,
    family_of,
    family_of_backbone,
    preprocessor_class,
    task_class,
)
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.pooler import is_trained
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.common.family_names import FAMILIES
from clozekit.tokenizers.families.preset_tokenizer import tokenizer_of_preset
from clozekit.tokenizers.hub.open_preset import PresetFiles
from clozekit.tokenizers.settings.constructor_arguments import check_arguments
from clozekit.tokenizers.settings.json_files import read_object
from clozekit.tokenizers.storage.file_systems import read_text
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE, Tokenizer

CONFIG_FILE = "config.json"
TASK_FILE = "task.json"
PREPROCESSOR_FILE = "preprocessor.json"
METADATA_FILE = "metadata.json"
OWN_FILE = "clozekit.json"
WEIGHTS_FILE = "model.weights.h5"
SHARDED_WEIGHTS_FILE = "model.weights.json"
TASK_WEIGHTS_FILE = "task.weights.h5"
# Names that KerasHub exports twice, and the one we know.
_ALIASES = {"Classifier": "TextClassifier", "Preprocessor": "TextClassifierPreprocessor"}
# By name alone: a described function could be any code.
_OUTPUT_ACTIVATIONS = ("linear", "softmax", "sigmoid", "tanh", "relu")
# The key of OWN_FILE for a pooler whose biases of zero came with a checkpoint.
_LOADED_POOLER = "has_loaded_pooler"
_PASSED_OVER = ("name", "trainable", "dtype", "config_file", "compile_config", "build_config")


def class_name(described: Settings) -> str:
    """Name of the class that a JSON of KerasHub describes."""
    return _without_alias(str(described.get("registered_name") or described.get("class_name")).split(">")[-1])


def _without_alias(name: str) -> str:
    for family in FAMILIES.values():
        alias = _ALIASES.get(name.removeprefix(family.prefix))
        if alias is not None and name.startswith(family.prefix):
            return family.prefix + alias
    return name


class KerasPreset:
    """A preset directory in KerasHub's layout, to be read."""

    def __init__(self, files: PresetFiles, config: Settings) -> None:
        self.files = files
        self.source = files.source
        self._config = config
        self.family: Family = family_of_backbone(class_name(config), f"{self.source}: {CONFIG_FILE}")
        self._own = self._json(OWN_FILE, described=False) or {}
        self._task = self._json(TASK_FILE) or {}

    def _own_part(self, name: str) -> Settings:
        """Settings of a part that KerasHub has no place for."""
        part = self._own.get(name, {})
        if not isinstance(part, dict):
            raise InputError(f"{self.source}: {OWN_FILE} must hold settings of the {name}, it does not; copy it again")
        return part

    def backbone_settings(self) -> Settings:
        """Constructor arguments of the backbone. Raises InputError for what the class does not know."""
        cls = self.family.backbone
        ours = {theirs: name for name, theirs in cls.keras_hub_names.items()}
        described = {ours.get(name, name): value for name, value in self._config["config"].items()}
        settings = {name: value for name, value in described.items() if name not in _PASSED_OVER}
        settings |= self._own_part("backbone")
        check_arguments(cls, settings, f"{self.source}: {CONFIG_FILE}")
        missing = sorted({"vocabulary_size", "num_layers", "num_heads", "hidden_dim"} - set(settings))
        if missing:
            raise InputError(f"{self.source}: {CONFIG_FILE} must hold {', '.join(missing)}, it does not")
        return settings

    def quantized_policy(self) -> DType:
        """The dtype policy of a preset that was saved quantized; None for one of floats, which any policy takes."""
        policy = self._config["config"].get("dtype")
        return policy_of_file(policy, f"{self.source}: {CONFIG_FILE}") if is_quantized(policy) else None

    def weight_files(self) -> list[Path]:
        """The files with the weights of the backbone."""
        path = self.files.path(WEIGHTS_FILE, required=False)
        return [path] if path is not None else self._shards(self._sharded_weights())

    def head_settings(self, kind: str) -> Settings | None:
        """Constructor arguments of the task, or None when the preset was saved without its head."""
        cls = task_class(self.family, kind)
        own = dict(self._own_part("task"))
        written = own.pop("kind", None)
        if written is not None or not cls.is_of_keras_hub:
            if (
                written is None
                and self._task
                and class_name(self._task) == FAMILIES[self.family.name].prefix + cls.__name__
            ):
                # KerasHub's own, of which it has text embedders.
                theirs = {"pooling": self._task["config"].get("pooling_mode", "mean")}
                theirs["normalize"] = self._task["config"].get("normalize", True)
                check_arguments(cls, theirs, f"{self.source}: {TASK_FILE}")
                return theirs
            if written != kind:
                return None
            check_arguments(cls, own, f"{self.source}: {OWN_FILE}")
            return own
        if not self._task or class_name(self._task) != cls.__name__:
            return None
        left_out = (*_PASSED_OVER, "backbone", "preprocessor")
        settings = {name: value for name, value in self._task["config"].items() if name not in left_out}
        settings |= own
        activation = settings.get("activation")
        if activation is not None and (not isinstance(activation, str) or activation not in _OUTPUT_ACTIVATIONS):
            raise InputError(
                f"{self.source}: the activation in {TASK_FILE} must be one of {', '.join(_OUTPUT_ACTIVATIONS)}, it is"
                f" {activation!r:.80}; code in a preset is never run"
            )
        check_arguments(cls, settings, f"{self.source}: {TASK_FILE}")
        return settings

    def preprocessor_settings(self, kind: str) -> Settings:
        """Constructor arguments of the preprocessor besides the tokenizer, where the preset has them."""
        cls = preprocessor_class(self.family, kind)
        name = cls.__name__
        nested = self._task.get("config", {}).get("preprocessor")
        for described, file in ((nested, TASK_FILE), (self._json(PREPROCESSOR_FILE), PREPROCESSOR_FILE)):
            named = f"{self.source}: {file}"
            if described and class_name(check_described(described, named)) == name:
                left_out = (*_PASSED_OVER, "tokenizer")
                settings = {key: value for key, value in described["config"].items() if key not in left_out}
                settings |= self._own_part("preprocessor")
                check_arguments(cls, settings, named)
                return settings
        return {}

    def tokenizer(self) -> Tokenizer:
        described = self._json(TOKENIZER_FILE)
        if described is None:
            raise InputError(f"{self.source} must hold {TOKENIZER_FILE} to take raw text; or pass preprocessor=None")
        return tokenizer_of_preset(self.family.tokenizer, self.files, {})

    def load_backbone_weights(self, backbone: Backbone, needs_pooler: bool = True) -> None:
        """Raises InputError naming the file that is missing or damaged or does not fit."""
        backbone.has_loaded_pooler = self.has_loaded_pooler()
        path = self.files.path(WEIGHTS_FILE, required=False)
        largest = max(int(np.prod(variable.shape)) for variable in backbone.variables)
        if path is None:
            path = self._sharded_weights()
        files = [path] if path.name == WEIGHTS_FILE else self._shards(path)
        try:
            for file in files:
                check_arrays(file, largest)
            backbone.load_weights(path)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{self.source}: {path.name} must hold the weights of the {type(backbone).__name__} that"
                f" {CONFIG_FILE} describes, it does not ({_first_line(error)})"
            ) from error

    def has_loaded_pooler(self) -> bool:
        """Whether the pooler came with a checkpoint, though it looks like a fresh one."""
        return self._own.get(_LOADED_POOLER) is True

    def _sharded_weights(self) -> Path:
        index = self.files.path(SHARDED_WEIGHTS_FILE, required=False)
        if index is None:
            raise InputError(
                f"{self.source} must hold {WEIGHTS_FILE} (or {SHARDED_WEIGHTS_FILE}), it does not; copy it again, or"
                " pass load_weights=False for fresh weights"
            )
        self._shards(index)
        return index

    def _shards(self, index: Path) -> list[Path]:
        """The files that the index of sharded weights names."""
        named = f"{self.source}: {SHARDED_WEIGHTS_FILE}"
        weight_map = read_object(index, named).get("weight_map")
        values = weight_map.values() if isinstance(weight_map, dict) else [None]
        names = [name for value in values for name in (value if isinstance(value, list) else [value])]
        files = [name for name in names if isinstance(name, str)]
        if not names or len(files) < len(names):
            raise InputError(f"{named} must name the file of each weight (weight_map), it does not; copy it again")
        return [self.files.required_path(name) for name in dict.fromkeys(files)]

    def load_head_weights(self, task: Task) -> None:
        """Raises InputError naming the file that is missing or damaged or does not fit."""
        if not task.head_layers():
            return
        path = self.files.path(TASK_WEIGHTS_FILE, required=False)
        told = TASK_FILE if task.goes_to_keras_hub else OWN_FILE
        if path is None:
            raise InputError(
                f"{self.source} must hold {TASK_WEIGHTS_FILE}, {told} says it has a {type(task).__name__};"
                " copy it again, or pass load_weights=False for fresh weights"
            )
        largest = max(int(np.prod(variable.shape)) for variable in task.variables)
        try:
            check_arrays(path, largest)
            with h5py.File(path, "r") as file:
                for place, layer in task.head_layers().items():
                    layer.load_own_variables(_own_arrays(file, place, layer))
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.source}: {TASK_WEIGHTS_FILE} must hold the head of the {type(task).__name__} that {told}"
                f" describes, it does not ({_first_line(error)})"
            ) from error

    def _json(self, name: str, described: bool = True) -> Settings | None:
        path = self.files.path(name, required=False)
        return None if path is None else read_json(path, f"{self.source}: {name}", described)


def read_json(path: Path, named: str, described: bool = True) -> Settings:
    """The object in a JSON file. Raises InputError, calling the file `named`, when it holds none."""
    content = read_object(path, named)
    return check_described(content, named) if described else content


def check_described(content: object, named: str) -> Settings:
    """Raises InputError unless `content` describes a class with its settings."""
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise InputError(f"{named} must describe a class with its settings, it does not; copy it again")
    told, name = content.get("class_name"), class_name(content)
    if told is not None and (not isinstance(told, str) or _without_alias(told) != name):
        raise InputError(
            f"class_name and registered_name of {named} must be of one class, they are {told!r:.80} and {name!r:.80}; copy"
            " it again"
        )
    return content


def _dataset(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array of an .h5 file; links out of the file are refused."""
    place = file
    for part in name.split("/"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise KeyError(f"{name} is missing")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.shape != shape or place.external or place.is_virtual:
        found = getattr(place, "shape", "a group")
        raise ValueError(f"{name} must be of shape {shape}, it is {found}")
    return place[()]


def own_variables(layer: keras.Layer) -> dict[str, keras.Variable]:
    """The variables of a layer, those of the layers in it aside, by the numbers that Keras gives them in a file."""
    variables: dict[str, keras.Variable] = {}
    layer.save_own_variables(variables)
    return variables


def _own_arrays(file: h5py.File, place: str, layer: keras.Layer) -> dict[str, np.ndarray]:
    """The arrays that a file has for a layer, number by number."""
    arrays = {}
    for number, variable in own_variables(layer).items():
        array = _dataset(file, f"{place}/vars/{number}", tuple(variable.shape))
        kept = keras.backend.standardize_dtype(variable.dtype)
        if (array.dtype == np.int8) != (kept == "int8"):
            raise ValueError(f"{place}/vars/{number} is of {array.dtype}, the model's is of {kept}: one is quantized")
        arrays[number] = array
    return arrays


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def _described(part: Backbone | Preprocessor | Task, config: Settings, module: str) -> Settings:
    name = type(part).__name__
    return {"module": module, "class_name": name, "config": config, "registered_name": f"keras_hub>{name}"}


def write_preset(
    directory: Path,
    backbone: Backbone | None,
    preprocessor: Preprocessor | None,
    task: Task | None = None,
    max_shard_size: float | None = 10,
) -> None:
    """Writes the files of a preset into an existing directory; the bytes depend on nothing but the arguments."""
    write_description(directory, backbone, preprocessor, task)
    if backbone is not None:
        _save_backbone_weights(backbone, directory, max_shard_size)
    if task is not None and task.head_layers():
        with h5py.File(directory / TASK_WEIGHTS_FILE, "w") as file:
            for place, layer in task.head_layers().items():
                for number, variable in own_variables(layer).items():
                    file.create_dataset(f"{place}/vars/{number}", data=keras.ops.convert_to_numpy(variable))
            # A fresh optimizer, as Keras lays one out: without it KerasHub warns. Ours never reads it.
            file.create_dataset("optimizer/vars/0", data=np.int64(0))
            file.create_dataset("optimizer/vars/1", data=np.float32(task.default_learning_rate))


def write_description(
    directory: Path,
    backbone: Backbone | None,
    preprocessor: Preprocessor | None,
    task: Task | None = None,
    changes: Settings | None = None,
) -> None:
    """The files of a preset but for the weights. changes: to the settings of the backbone as they are written."""
    own: Settings = {}
    described_backbone = described_preprocessor = None
    if backbone is not None:
        described_backbone = describe_backbone(backbone, task)
        described_backbone["config"] |= {
            backbone.keras_hub_names.get(name, name): value for name, value in (changes or {}).items()
        }
        defaults = backbone.own_setting_defaults
        own[_LOADED_POOLER] = backbone.has_loaded_pooler and not is_trained(backbone)
        own["backbone"] = {k: v for k, v in backbone.settings().items() if k in defaults and v != defaults[k]}
        _write_json(directory / CONFIG_FILE, described_backbone)
        _write_json(directory / METADATA_FILE, _metadata(backbone))
    if preprocessor is not None:
        preprocessor.tokenizer.save(directory)
        described_preprocessor = _describe_preprocessor(preprocessor, directory)
        own["preprocessor"] = preprocessor.own_options()
        _write_json(directory / PREPROCESSOR_FILE, described_preprocessor)
    if task is not None and not task.goes_to_keras_hub:
        config = task.head_config() if hasattr(task, "head_config") else {}
        own["task"] = {"kind": task.kind, **config, **task.head_settings()}
    elif task is not None:
        config = {"backbone": described_backbone, "preprocessor": described_preprocessor, "name": task.name}
        config |= task.head_config() if hasattr(task, "head_config") else {}
        _write_json(directory / TASK_FILE, _described(task, config, "keras_hub.src.models.task"))
        defaults = getattr(task, "head_defaults", {})
        own["task"] = {k: v for k, v in task.head_settings().items() if v != defaults.get(k)}
    own = {part: options for part, options in own.items() if options}
    if own:
        _write_json(directory / OWN_FILE, own)


def keep_own_settings(there: str, directory: Path) -> None:
    """Adds what the file `there`, of a preset, says of other parts to what stands in `directory` of its new preprocessor."""
    try:
        before = read_text(there)
    except FileNotFoundError:
        return
    path = directory / OWN_FILE
    new = read_json(path, OWN_FILE, described=False) if path.exists() else {}
    path.write_text(before, encoding="utf-8")
    kept = read_json(path, there, described=False)
    _write_json(path, {**{name: part for name, part in kept.items() if name != "preprocessor"}, **new})


def describe_backbone(backbone: Backbone, task: Task | None = None) -> Settings:
    """The content of `config.json`: KerasHub's constructor arguments and no others.

    The dtype tells of the task's quantized layers too: KerasHub makes the head with the backbone's policy.
    """
    theirs = backbone.keras_hub_names
    config = {
        theirs.get(name, name): value
        for name, value in backbone.get_config().items()
        if name not in backbone.own_setting_defaults
    }
    if task is not None:
        config["dtype"] = task.described_policy()
    return _described(backbone, config, "keras_hub.src.models.backbone")


def _describe_preprocessor(preprocessor: Preprocessor, directory: Path) -> Settings:
    tokenizer = json.loads((directory / TOKENIZER_FILE).read_text(encoding="utf-8"))
    config = {"tokenizer": tokenizer, "config_file": PREPROCESSOR_FILE, **preprocessor.keras_hub_config()}
    return _described(preprocessor, config, "keras_hub.src.models.preprocessor")


def _metadata(backbone: Backbone) -> Settings:
    # No date: a preset's bytes say nothing of when it was saved. KerasHub writes one and never reads it.
    return {
        "keras_version": keras.version(),
        "clozekit_version": importlib.metadata.version("clozekit"),
        "parameter_count": backbone.count_params(),
        "tasks": ["MaskedLM", "TextClassifier"],
    }


def _save_backbone_weights(backbone: Backbone, directory: Path, max_shard_size: float | None) -> None:
    size = sum(int(np.prod(variable.shape)) * np.dtype("float32").itemsize for variable in backbone.variables)
    if max_shard_size is not None and size > max_shard_size * 1024**3:
        backbone.save_weights(directory / SHARDED_WEIGHTS_FILE, max_shard_size=max_shard_size)
    else:
        backbone.save_weights(directory / WEIGHTS_FILE)


def _write_json(path: Path, content: Settings) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def parts_of(
    task: Task | None, backbone: Backbone | None, preprocessor: Preprocessor | None
) -> tuple[Backbone | None, Preprocessor | None]:
    """Backbone and preprocessor to write, those of the task first; raises InputError when they don't belong together."""
    if task is not None:
        backbone, preprocessor = task.backbone, task.preprocessor
    if backbone is not None and preprocessor is not None and family_of(backbone) is not family_of(preprocessor):
        raise InputError(
            f"a preset holds one family, got a {type(backbone).__name__} and a {type(preprocessor).__name__}"
        )
    return backbone, preprocessor
