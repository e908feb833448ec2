"""Fine-tuning to any number of labels a text: each label is there or not."""

from typing import Any

import numpy as np

from clozekit.model.training.finetuning.examples.labelled_texts import LabelledTexts, read_labelled_texts
from clozekit.model.training.finetuning.examples.task_metrics import multi_label_metrics
from clozekit.model.training.finetuning.kinds.classification_kind import ClassificationKind
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit
from clozekit.model.training.settings.columns import LABELS_BETWEEN
from clozekit.model.training.settings.finetune_settings import DataSettings
from clozekit.tokenizers.common.errors import InputError


class MultiLabelKind(ClassificationKind):
    """Labels of a text: a list in JSON lines, else with `data.label_separator` between them; none is a value too."""

    objective_name = "multi_label"
    problem = "multi_label"

    def read(self, path: str, data: DataSettings, is_test: bool) -> LabelledTexts:
        columns = data.test_columns() if is_test else data.columns(several_labels=True)
        return read_labelled_texts(path, columns)

    def names(self, train: LabelledTexts, data: DataSettings) -> tuple[str, ...]:
        found = data.label_names() or tuple(sorted({name for labels in train.labels for name in _split(labels)}))
        if len(found) < 1:
            raise InputError(f"{train.source} must have at least one label, it has none; name the column in data.label")
        wrong = next((name for name in found if {"\t", "\n", "\r"} & set(name)), None)
        if wrong is not None:
            raise InputError(f"{train.source}: a label must be a name on one line without tabs, got {wrong!r}")
        return found

    def labels(self, examples: LabelledTexts, names: tuple[str, ...], source: str) -> np.ndarray:
        """float32 (N, num_classes): 1 where a text has the label, else 0."""
        places = {name: place for place, name in enumerate(names)}
        found = np.zeros((len(examples), len(names)), np.float32)
        for row, (line, labels) in enumerate(zip(examples.lines, examples.labels, strict=True)):
            for name in _split(labels):
                if name not in places:
                    raise InputError(
                        f"{examples.source}, line {line}: a label must be one of {', '.join(map(repr, names))} as in"
                        f" {source}, got {name!r}; correct the file, or name all labels in data.labels"
                    )
                found[row, places[name]] = 1
        return found

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]
    ) -> dict[str, float]:
        return multi_label_metrics(split.labels(), outputs[0])

    def shown_labels(self, examples: LabelledTexts) -> tuple[str, ...]:
        return tuple(",".join(_split(labels)) for labels in examples.labels)

    def predicted(self, outputs: np.ndarray, names: tuple[str, ...]) -> list[str]:
        return [",".join(np.array(names)[row > 0]) for row in outputs]


def _split(labels: str) -> list[str]:
    return labels.split(LABELS_BETWEEN) if labels else []


KIND = MultiLabelKind()
