"""The task of a preset that was fine-tuned, whichever it is."""

from clozekit.model.families.family_table import TASK_KINDS, task_class
from clozekit.model.presets.load_presets import open_source
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError


def load_finetuned(preset: str) -> Task:
    """The task, not compiled. Raises InputError for a preset without a head but a masked LM's."""
    source = open_source(preset)
    if source.head_settings(ReplacedTokenDetector.kind) is not None:
        raise InputError(
            f"{preset} says which tokens were replaced, and nothing of a text; make a model of it that does with"
            f" `clozekit finetune --init-from {preset}`"
        )
    for kind in TASK_KINDS:
        if kind != "masked_lm" and source.head_settings(kind) is not None:
            return task_class(source.family, kind).from_preset(preset, compile=False)
    raise InputError(
        f"predictions need a preset with the head of a task, {preset} has none; make one with `clozekit finetune`"
    )
