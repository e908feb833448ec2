"""Presets: a directory with everything needed to use a trained task, in the layout of KerasHub's presets."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clozekit.model.bert import BertBackbone, BertMaskedLM
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.families import load_tokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
TASK_FILE = "task.json"
WEIGHTS_FILE = "model.weights.h5"
TASK_WEIGHTS_FILE = "task.weights.h5"
# Where Keras keeps the head's variables inside the weights of a task.
_HEAD = "layers/masked_lm_head"


def _serialized(module: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": f"keras_hub>{name}"}


def _backbone_json(backbone: BertBackbone) -> dict[str, Any]:
    config = backbone.get_config()
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    return _serialized("keras_hub.src.models.bert.bert_backbone", "BertBackbone", {**config, "dtype": policy})


def _head_variables(task: BertMaskedLM) -> dict[str, Any]:
    head = task.masked_lm_head
    parts = {
        "_intermediate_dense/vars/0": head._intermediate_dense.kernel,
        "_intermediate_dense/vars/1": head._intermediate_dense.bias,
        "_intermediate_layer_norm/vars/0": head._intermediate_layer_norm.gamma,
        "_intermediate_layer_norm/vars/1": head._intermediate_layer_norm.beta,
        "vars/0": head._output_bias,
    }
    return {f"{_HEAD}/{name}": variable for name, variable in parts.items()}


def save_preset(task: BertMaskedLM, tokenizer: Tokenizer, directory: str | Path) -> None:
    """Writes the preset under a temporary name and puts it in the place of `directory` when it is whole.

    Raises InputError when something that is no preset stands there.
    """
    target = Path(directory)
    check_preset_target(target)
    temporary = target.with_name(target.name + ".tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    backbone = _backbone_json(task.backbone)
    described = _serialized(
        "keras_hub.src.models.bert.bert_masked_lm",
        "BertMaskedLM",
        {"backbone": backbone, "preprocessor": None, "name": task.name},
    )
    for name, content in ((CONFIG_FILE, backbone), (TASK_FILE, described)):
        (temporary / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    tokenizer.save(temporary)
    task.backbone.save_weights(temporary / WEIGHTS_FILE)
    with h5py.File(temporary / TASK_WEIGHTS_FILE, "w") as file:
        for name, variable in _head_variables(task).items():
            file.create_dataset(name, data=np.asarray(variable))
    old = target.with_name(target.name + ".old")
    if target.exists():
        target.rename(old)
    temporary.rename(target)
    if old.exists():
        shutil.rmtree(old)


def check_preset_target(target: Path) -> None:
    """Raises InputError unless `target` is free, empty, or a preset that may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not ((target / CONFIG_FILE).is_file() and (target / WEIGHTS_FILE).is_file()):
        raise InputError(
            f"a preset goes into a new directory or replaces a preset, {target} is something else; choose another `preset`"
        )


def load_preset(directory: str | Path) -> tuple[BertMaskedLM, Tokenizer]:
    """The task and the tokenizer of a preset. Raises InputError naming the file that is missing, damaged or unfit."""
    root = Path(directory)
    for name in (CONFIG_FILE, WEIGHTS_FILE, TASK_WEIGHTS_FILE):
        if not (root / name).is_file():
            raise InputError(f"a preset directory must hold {name}, {root} does not; check the path or train again")
    try:
        described = json.loads((root / CONFIG_FILE).read_text(encoding="utf-8"))
        name, config = described["class_name"], dict(described["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{root / CONFIG_FILE} must describe a backbone, it is damaged ({error}); copy it again"
        ) from error
    if name != "BertBackbone":
        raise InputError(f"the backbone of a preset must be BertBackbone, {root / CONFIG_FILE} says {name!r}")
    config.pop("dtype", None)
    tokenizer = load_tokenizer(root)
    try:
        task = BertMaskedLM(BertBackbone(**config))
    except (TypeError, ValueError) as error:
        raise InputError(f"{root / CONFIG_FILE} must hold the settings of a backbone, it does not ({error})") from error
    if task.backbone.vocabulary_size != tokenizer.vocabulary_size():
        raise InputError(
            f"the tokenizer must fit the embedding, {root} has {tokenizer.vocabulary_size()} pieces and"
            f" {task.backbone.vocabulary_size} rows; copy both from one run"
        )
    try:
        task.backbone.load_weights(root / WEIGHTS_FILE)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{root / WEIGHTS_FILE} must hold the weights of the backbone, it does not ({error})"
        ) from error
    try:
        with h5py.File(root / TASK_WEIGHTS_FILE, "r") as file:
            for name, variable in _head_variables(task).items():
                variable.assign(file[name][()])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{root / TASK_WEIGHTS_FILE} must hold the weights of the head, it does not ({error})"
        ) from error
    return task, tokenizer
