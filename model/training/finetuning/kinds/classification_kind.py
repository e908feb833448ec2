"""Fine-tuning to one class of several a text, or pair of texts, as in GLUE."""

from typing import Any

import numpy as np

from clozekit.model.common.tensors import DType
from clozekit.model.preprocessing.encoded_rows import encode_rows
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_classifier import TextClassifier
from clozekit.model.training.finetuning.examples.labelled_texts import (
    LabelledTexts,
    label_ids,
    label_names,
    read_labelled_texts,
)
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.finetuning.examples.task_metrics import classification_metrics
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, FinetuneKind, tsv
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings


class ClassificationKind(FinetuneKind):
    """A class a text. Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.1."""

    objective_name = "classification"
    problem = "single_label"

    def read(self, path: str, data: DataSettings, is_test: bool) -> LabelledTexts:
        return read_labelled_texts(path, data.test_columns() if is_test else data.columns())

    def names(self, train: LabelledTexts, data: DataSettings) -> tuple[str, ...]:
        return data.label_names() or label_names(train)

    def labels(self, examples: LabelledTexts, names: tuple[str, ...], source: str) -> np.ndarray:
        return label_ids(examples, names, source)

    def build(self, config: FinetuneSettings, names: tuple[str, ...], dtype: DType) -> Task:
        return TextClassifier.from_preset(
            config.init_from,
            num_classes=len(names) or 1,
            labels=list(names) or None,
            activation=None,
            problem=self.problem,
            dtype=dtype,
            compile=False,
        )

    def encode(self, examples: LabelledTexts, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        return EncodedSplit(RowSet(encode_rows(examples.texts, examples.pairs, preprocessor), labels))

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]
    ) -> dict[str, float]:
        return classification_metrics(split.labels(), outputs[0])

    def predictions(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: LabelledTexts, names: tuple[str, ...]
    ) -> str:
        """index and prediction, as GLUE's site takes them, and the label where it is known."""
        predicted = self.predicted(outputs[0], names)
        labels = [[label] for label in self.shown_labels(examples)] or [[] for _ in predicted]
        header = ["index", "prediction", *(["label"] if examples.labels else [])]
        rows = zip(predicted, labels, strict=True)
        return tsv(header, [[str(place), found, *label] for place, (found, label) in enumerate(rows)])

    def shown_labels(self, examples: LabelledTexts) -> tuple[str, ...]:
        return examples.labels

    def predicted(self, outputs: np.ndarray, names: tuple[str, ...]) -> list[str]:
        return [names[number] for number in outputs.argmax(axis=1)]


KIND = ClassificationKind()
