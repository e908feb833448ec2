"""The mean of several presets or checkpoints of one model: the same architecture, every weight the mean of theirs."""

from collections.abc import Sequence

import numpy as np
from keras import ops

from clozekit.model.common.tensors import Settings
from clozekit.model.families.family_table import TASK_KINDS, task_class
from clozekit.model.presets.load_presets import PresetSource, open_source
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError


def mean_of_presets(presets: Sequence[str]) -> Task:
    """The task whose every weight is the mean of those of several presets, of runs or of their checkpoints.

    Args:
        presets: at least two: names, handles, directories, or paths such as `run/step-500`.

    Returns:
        A task of the kind that all of them hold, float32, not compiled, with the first one's preprocessor.

    Raises:
        InputError: where they are not of one architecture, one head and one tokenizer.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 6.1 (the last checkpoints of a run); Wortsman et al. 2022 (arXiv
        2203.05482) (several fine-tunings of one model).

    Example:

        >>> from clozekit.model.presets.mean_of_presets import mean_of_presets
        >>> task = mean_of_presets(["tiny/preset", "tiny/preset"])
        >>> np.allclose(task.get_weights()[0], models.MaskedLM.from_preset("tiny/preset").get_weights()[0])
        True
    """
    if len(presets) < 2:
        raise InputError(f"a mean is of at least two presets, got {', '.join(presets) or 'none'}; name more")
    sources = [open_source(preset) for preset in presets]
    kind = _kind(sources[0])
    first = _described(sources[0], kind)
    for source in sources[1:]:
        other = _described(source, kind)
        differing = [name for name in first if first[name] != other.get(name)] or [*set(other) - set(first)]
        if differing:
            name = differing[0]
            raise InputError(
                f"a mean is of presets of one model, {sources[0].source} and {source.source} differ in"
                f" {', '.join(differing)} ({first.get(name)!r:.80} and {other.get(name)!r:.80}); leave one out"
            )
    cls = task_class(sources[0].family, kind)
    task: Task = cls.from_preset(presets[0], compile=False)
    sums = [np.asarray(ops.convert_to_numpy(weight), np.float64) for weight in task.weights]
    for preset in presets[1:]:
        other_task: Task = cls.from_preset(preset, compile=False)
        for total, weight in zip(sums, other_task.weights, strict=True):
            total += np.asarray(ops.convert_to_numpy(weight))
    for weight, total in zip(task.weights, sums, strict=True):
        weight.assign((total / len(presets)).astype(np.float32))
    return task


def _kind(source: PresetSource) -> str:
    for kind in TASK_KINDS:
        if source.head_settings(kind) is not None:
            return kind
    raise InputError(f"a mean is of models with a head, {source.source} has none; take another preset")


def _described(source: PresetSource, kind: str) -> Settings:
    """What has to be the same. Rates of dropout need not be: they say nothing of the weights."""
    head = source.head_settings(kind)
    settings = {**source.backbone_settings(), **(head or {})}
    kept = {name: value for name, value in settings.items() if not name.endswith("dropout")}
    is_there = kind if head is not None else None
    return {"family": source.family.name, "head": is_there, **kept, "tokenizer": source.tokenizer().sha256()}
