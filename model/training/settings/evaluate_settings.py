"""How a preset is measured: the settings of `clozekit evaluate`. No TensorFlow."""

from dataclasses import dataclass

from clozekit.model.training.settings.run_settings import MaskingSettings
from clozekit.tokenizers.settings.settings_files import check


@dataclass(frozen=True)
class EvaluatePresetSettings:
    """How a preset is measured. The masks are those that training measures itself on: 15%, the same in every run.

    batch_size: rows at once. max_rows: the most rows; None: all. mask_rate: share of the tokens that is masked. xla: compile the
    model.

    Raises:
        InputError: for a number below 1, or a rate that is not above 0 and at most 1.

    Example:

        >>> from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
        >>> EvaluatePresetSettings(max_rows=1000).mask_rate
        0.15
    """

    batch_size: int = 32
    max_rows: int | None = None
    mask_rate: float = MaskingSettings.validation_rate
    xla: bool = True

    def __post_init__(self) -> None:
        check("--batch-size must be at least 1", self.batch_size >= 1, self.batch_size)
        check("--max-rows must be at least 1", self.max_rows is None or self.max_rows >= 1, self.max_rows)
        check("--mask-rate must be above 0 and at most 1", 0 < self.mask_rate <= 1, self.mask_rate)
