"""Fine-tuning to text embeddings whose cosines are given scores, as of STS-B: pairs of texts, and how similar they are."""

from typing import Any

import numpy as np

from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.training.finetuning.examples.labelled_texts import (
    LabelledTexts,
    label_values,
    read_labelled_texts,
)
from clozekit.model.training.finetuning.examples.task_metrics import cosines, regression_metrics
from clozekit.model.training.finetuning.kinds.embedding_kind import EmbeddingKind
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, FinetuneKind
from clozekit.model.training.objectives.objective import Objective
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
from clozekit.tokenizers.common.errors import InputError


class SimilarityKind(EmbeddingKind):
    """Pairs of texts with a score. Source: Reimers and Gurevych 2019 (arXiv 1908.10084), section 3."""

    objective_name = "similarity"

    def objective(self, config: FinetuneSettings) -> Objective:
        return FinetuneKind.objective(self, config)

    def check(self, config: FinetuneSettings, rows_at_once: int) -> None:
        """Nothing: a pair stands alone."""

    def read(self, path: str, data: DataSettings, is_test: bool) -> LabelledTexts:
        return read_labelled_texts(path, data.columns())

    def labels(self, examples: LabelledTexts, names: tuple[str, ...], source: str) -> np.ndarray:
        """float32 (N,): the scores, cosines to be."""
        values = label_values(examples)
        wrong = np.flatnonzero(np.abs(values) > 1)
        if len(wrong):
            raise InputError(
                f"{examples.source}, line {examples.lines[wrong[0]]}: a score must be a cosine, from -1 to 1, got"
                f" {examples.labels[wrong[0]]}; divide all scores by the highest there can be (5 in STS-B)"
            )
        return values

    def encode(self, examples: LabelledTexts, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        return self.encode_pairs(examples, labels, preprocessor)

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]
    ) -> dict[str, float]:
        return regression_metrics(split.labels(), cosines(outputs[0], outputs[1]))


KIND = SimilarityKind()
