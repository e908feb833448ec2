"""Fine-tuning to text embeddings: pairs of texts that belong together, each told from the other pairs of its batch."""

import dataclasses

import numpy as np

from clozekit.model.common.tensors import DType
from clozekit.model.preprocessing.encoded_rows import encode_rows
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_embedder import TextEmbedder
from clozekit.model.training.finetuning.examples.labelled_texts import LabelledTexts, read_labelled_texts
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.finetuning.examples.task_metrics import retrieval_metrics
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, FinetuneKind
from clozekit.model.training.objectives.embedding_objective import embedding_objective
from clozekit.model.training.objectives.objective import Objective
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
from clozekit.tokenizers.common.errors import InputError


class EmbeddingKind(FinetuneKind):
    """Pairs of texts. Source: Reimers and Gurevych 2019 (arXiv 1908.10084); the objective's papers stand in its file."""

    objective_name = "embedding"
    predictions_suffix = None

    def objective(self, config: FinetuneSettings) -> Objective:
        return embedding_objective(config.embedding.temperature, _group_size(config))

    def check(self, config: FinetuneSettings, rows_at_once: int) -> None:
        group = _group_size(config)
        if rows_at_once % group:
            raise InputError(
                f"embedding.group_size must divide the {rows_at_once} rows that a replica computes at once"
                f" (train.global_batch_size and micro_batch_size, and the number of replicas), got {group}; set it"
            )

    def read(self, path: str, data: DataSettings, is_test: bool) -> LabelledTexts:
        return read_labelled_texts(path, dataclasses.replace(data.columns(), label=None))

    def labels(self, examples: LabelledTexts, names: tuple[str, ...], source: str) -> np.ndarray:
        """Nothing: the pairs say it."""
        return np.zeros((len(examples), 0), np.int32)

    def build(self, config: FinetuneSettings, names: tuple[str, ...], dtype: DType) -> Task:
        own = config.embedding
        return TextEmbedder.from_preset(
            config.init_from, pooling=own.pooling, normalize=own.normalize, dtype=dtype, compile=False
        )

    def encode(self, examples: LabelledTexts, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        return self.encode_pairs(examples, None, preprocessor)

    def encode_pairs(
        self, examples: LabelledTexts, labels: np.ndarray | None, preprocessor: Preprocessor
    ) -> EncodedSplit:
        """Both texts of each pair as rows of their own."""
        first, second = (encode_rows(texts, (), preprocessor) for texts in (examples.texts, examples.pairs))
        return EncodedSplit(RowSet(first, labels, pairs=second))

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: LabelledTexts, names: tuple[str, ...]
    ) -> dict[str, float]:
        # As SimCSE and sentence-transformers scale cosines: a number to compare runs by, whatever they were trained with.
        return retrieval_metrics(outputs[0], outputs[1], 0.05)


def _group_size(config: FinetuneSettings) -> int:
    return config.embedding.group_size or config.train.global_batch_size


KIND = EmbeddingKind()
