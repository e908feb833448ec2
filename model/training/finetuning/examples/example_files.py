"""The files of a fine-tuning, each with the columns that its first line must have. No TensorFlow."""

import dataclasses
from collections.abc import Iterator

from clozekit.model.training.settings.columns import Columns
from clozekit.model.training.settings.finetune_settings import FinetuneSettings

# Their files have forms of their own: words with tags, questions.
_OTHER_FORMS = ("token_classification", "question_answering")
_WITHOUT_LABELS = ("embedding",)


def example_files(config: FinetuneSettings) -> Iterator[tuple[str, Columns | None]]:
    """Each file with the columns that it must have, None where it is no table.

    Example:

        >>> from clozekit.model.training.finetuning.examples.example_files import example_files
        >>> from clozekit.model.training.settings.finetune_settings import load_finetune_config
        >>> files = ["data.train=a.csv", "data.text=text", "data.label=label", "data.test=[b.csv]"]
        >>> config = load_finetune_config(None, ["init_from=p", "directory=d", *files])
        >>> [(path, columns and columns.used()) for path, columns in example_files(config)]
        [('a.csv', ['text', 'label']), ('b.csv', ['text'])]
    """
    data = config.data
    labelled = [(name, data.columns()) for name in (data.train, *data.validation)]
    for name, columns in (*labelled, *((name, data.test_columns()) for name in data.test)):
        if config.task in _WITHOUT_LABELS:
            columns = dataclasses.replace(columns, label=None)
        yield data.path(name), None if config.task in _OTHER_FORMS else columns
