"""The masked LM of a preset whose head was trained, for what asks it something."""

from clozekit.model.presets.load_presets import open_source
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.tokenizers.common.errors import InputError


def load_masked_lm(preset: str) -> MaskedLM:
    """Raises InputError for a preset whose head would be a random one."""
    if open_source(preset).head_settings(MaskedLM.kind) is None:
        raise InputError(
            f"the preset must hold a masked-LM head, {preset} has none and would guess at random; pass the preset of a"
            " masked LM"
        )
    return MaskedLM.from_preset(preset)
