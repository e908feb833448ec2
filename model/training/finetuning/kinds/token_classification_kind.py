"""Fine-tuning to a class a word: named entities, parts of speech."""

import numpy as np

from clozekit.model.common.tensors import DType
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.word_rows import WordRows, word_rows
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.token_classifier import NO_CLASS, TokenClassifier
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.finetuning.examples.tagged_words import TaggedWords, read_tagged_words
from clozekit.model.training.finetuning.examples.task_metrics import cross_entropies, tagging_metrics
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, FinetuneKind
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings
from clozekit.tokenizers.common.errors import InputError


class TokenClassificationKind(FinetuneKind):
    """A class for the first token of each word. Source: Devlin et al. 2018 (arXiv 1810.04805), section 5.3."""

    objective_name = "token_classification"

    def read(self, path: str, data: DataSettings, is_test: bool) -> TaggedWords:
        columns = data.test_columns() if is_test else data.columns()
        return read_tagged_words(path, columns, data.label_names())

    def names(self, train: TaggedWords, data: DataSettings) -> tuple[str, ...]:
        """O first, and B- and I- of one type together, where the classes are such."""
        found = {tag for tags in train.tags for tag in tags}
        return data.label_names() or tuple(sorted(found, key=lambda tag: (tag != "O", tag[2:], tag)))

    def labels(self, examples: TaggedWords, names: tuple[str, ...], source: str) -> np.ndarray:
        """(N,) of objects, int32 arrays: the numbers of the classes of each sentence's words."""
        ids = {name: number for number, name in enumerate(names)}
        found = np.empty(len(examples), object)
        for place, (line, tags) in enumerate(zip(examples.lines, examples.tags, strict=True)):
            unknown = next((tag for tag in tags if tag not in ids), None)
            if unknown is not None:
                raise InputError(
                    f"{examples.source}, sentence of line {line}: a tag must be one of {', '.join(map(repr, names))} as in"
                    f" {source}, got {unknown!r}; correct the file, or name all tags in data.labels"
                )
            found[place] = np.array([ids[tag] for tag in tags], np.int32)
        return found

    def build(self, config: FinetuneSettings, names: tuple[str, ...], dtype: DType) -> Task:
        return TokenClassifier.from_preset(
            config.init_from, num_classes=len(names), labels=list(names), dtype=dtype, compile=False
        )

    def encode(self, examples: TaggedWords, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        encoded = word_rows(preprocessor, examples.sentences)
        if labels is None:
            return EncodedSplit(RowSet(encoded.rows), encoded)
        of_tokens = np.full(len(encoded.words), NO_CLASS, np.int32)
        firsts = np.flatnonzero(encoded.words >= 0)
        sentences = encoded.sentence_of_tokens()
        of_tokens[firsts] = [labels[sentences[token]][encoded.words[token]] for token in firsts]
        return EncodedSplit(RowSet(encoded.rows, of_tokens, is_per_token=True), encoded)

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: TaggedWords, names: tuple[str, ...]
    ) -> dict[str, float]:
        """The loss is of the words that have a token; one without any is predicted as the first class."""
        labels = split.labels()
        firsts = labels >= 0
        losses = cross_entropies(outputs[0][firsts], labels[firsts])
        found = tagging_metrics(examples.tags, self._tags(outputs[0], split.more, examples, names), names)
        return {"loss": float(losses.mean()) if len(losses) else 0.0, **found}

    def _tags(
        self, outputs: np.ndarray, encoded: WordRows, examples: TaggedWords, names: tuple[str, ...]
    ) -> list[list[str]]:
        tags = [[names[0]] * len(sentence) for sentence in examples.sentences]
        sentences = encoded.sentence_of_tokens()
        best = outputs.argmax(axis=1)
        for token in np.flatnonzero(encoded.words >= 0):
            tags[sentences[token]][encoded.words[token]] = names[best[token]]
        return tags

    def predictions(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: TaggedWords, names: tuple[str, ...]
    ) -> str:
        """As CoNLL's files: a word a line, its tag where it is known, the prediction; an empty line between sentences."""
        lines = []
        for number, predicted in enumerate(self._tags(outputs[0], split.more, examples, names)):
            columns = [examples.sentences[number], *([examples.tags[number]] if examples.tags else []), predicted]
            lines += ["\t".join(fields) for fields in zip(*columns, strict=True)] + [""]
        return "\n".join(lines) + "\n"


KIND = TokenClassificationKind()
