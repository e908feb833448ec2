"""Fine-tuning to answers that stand in a text, as in SQuAD."""

import json

import numpy as np

from clozekit.model.common.tensors import DType
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.question_rows import answer_tokens, question_rows
from clozekit.model.tasks.answer_questions import Answer, best_answers
from clozekit.model.tasks.question_answerer import QuestionAnswerer
from clozekit.model.tasks.task import Task
from clozekit.model.training.finetuning.examples.question_files import Questions, read_questions
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.finetuning.examples.task_metrics import answer_scores, cross_entropies
from clozekit.model.training.finetuning.kinds.finetune_kind import EncodedSplit, FinetuneKind
from clozekit.model.training.settings.columns import Columns
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings


class QuestionAnsweringKind(FinetuneKind):
    """The tokens where the answer begins and ends. Source: Devlin et al. 2018 (arXiv 1810.04805), sections 4.2 and 4.3.

    In a file that has questions without an answer no answer is one; in others the best span always is.
    """

    objective_name = "question_answering"
    default_sequence_length = 384
    predictions_suffix = ".json"

    def read(self, path: str, data: DataSettings, is_test: bool) -> Questions:
        label = None if is_test else "answers"
        return read_questions(
            path, Columns("context", label=label, file_format=data.format, skip_bad_rows=data.skip_bad_rows)
        )

    def labels(self, examples: Questions, names: tuple[str, ...], source: str) -> np.ndarray:
        """int64 (N, 2): begin and end of the first answer in the context, in characters; -1 where there is none."""
        firsts = [answers[0] if answers else ("", -1) for answers in examples.answers]
        return np.array([(start, start + len(text)) for text, start in firsts], np.int64).reshape(-1, 2)

    def build(self, config: FinetuneSettings, names: tuple[str, ...], dtype: DType) -> Task:
        return QuestionAnswerer.from_preset(config.init_from, dtype=dtype, compile=False)

    def encode(self, examples: Questions, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        encoded = question_rows(preprocessor, examples.questions, examples.contexts)
        tokens = None if labels is None else answer_tokens(encoded, labels[:, 0], labels[:, 1])
        return EncodedSplit(RowSet(encoded.rows, tokens), encoded)

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Questions, names: tuple[str, ...]
    ) -> dict[str, float]:
        """loss: of the rows, as in training; exact_match and f1 of the answers, as SQuAD's script has them, 0 to 1."""
        labels, rows = split.labels(), split.row_set.rows
        losses = [
            cross_entropies(outputs[0][rows.starts[row] : rows.starts[row + 1]].T, labels[row]).mean()
            for row in range(len(rows))
        ]
        pairs = zip(self._answers(outputs, split, examples), examples.answers, strict=True)
        scores = [answer_scores(found.text, [text for text, _ in expected]) for found, expected in pairs]
        exact, f1 = np.mean(scores, axis=0)
        return {"loss": float(np.mean(losses)), "f1": float(f1), "exact_match": float(exact)}

    def _answers(self, outputs: list[np.ndarray], split: EncodedSplit, examples: Questions) -> list[Answer]:
        # A file to predict says nothing of it: there the best span is the answer.
        allow_none = any(not answers for answers in examples.answers) and any(examples.answers)
        return best_answers(split.more, outputs[0], examples.contexts, allow_none)

    def predictions(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Questions, names: tuple[str, ...]
    ) -> str:
        """One object, id -> answer, as SQuAD's evaluation scripts take it."""
        answers = self._answers(outputs, split, examples)
        named = {name: answer.text for name, answer in zip(examples.ids, answers, strict=True)}
        return json.dumps(named, indent=1, ensure_ascii=False) + "\n"


KIND = QuestionAnsweringKind()
