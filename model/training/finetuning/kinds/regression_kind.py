"""Fine-tuning to a number a text, or pair of texts, as STS-B wants it."""

from typing import Any

import numpy as np

from clozekit.model.training.finetuning.examples.labelled_texts import LabelledTexts, label_values
from clozekit.model.training.finetuning.examples.task_metrics import regression_metrics
from clozekit.model.training.finetuning.kinds.classification_kind import ClassificationKind
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit
from clozekit.model.training.settings.finetune_settings import DataSettings


class RegressionKind(ClassificationKind):
    """A number a text. Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.1."""

    objective_name = "regression"
    problem = "regression"

    def names(self, train: LabelledTexts, data: DataSettings) -> tuple[str, ...]:
        return ()

    def labels(self, examples: LabelledTexts, names: tuple[str, ...], source: str) -> np.ndarray:
        return label_values(examples)

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]
    ) -> dict[str, float]:
        return regression_metrics(split.labels(), outputs[0][:, 0])

    def predicted(self, outputs: np.ndarray, names: tuple[str, ...]) -> list[str]:
        return [f"{value:.4f}" for value in outputs[:, 0]]


KIND = RegressionKind()
