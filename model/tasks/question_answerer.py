"""The question-answering task: where in a text the answer to a question begins and ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import keras

from clozekit.model.common.tensors import Outputs, Rows, Settings, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.prediction_head import layers_of, predicted_from
from clozekit.model.layers.transformer_layers import truncated_normal
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.any_family import AnyFamilyTask
from clozekit.model.tasks.backbone import Backbone, hidden_states
from clozekit.model.tasks.task import TaskOptions
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.model.tasks.answer_questions import Answer


@keras.saving.register_keras_serializable(package="clozekit")
class QuestionAnswerer(AnyFamilyTask):
    """A backbone of any family with a dense layer that scores each token as the begin and the end of the answer.

    As a Keras model it takes the backbone's inputs, int32 (B, T), of rows with the question as first and the text as second
    segment, and gives logits (B, T, 2): of the begin and of the end. `answer` gives answers as text.

    Args:
        backbone, preprocessor: of one family, the preprocessor a text classifier's; None: for a model of ids.
        dropout: rate before the last layer, 0 to 1.

    Raises:
        InputError: for parts of two families, packed rows.

    Source: Devlin et al. 2018 (arXiv 1810.04805), sections 4.2 and 4.3.

    Example:

        >>> answerer = models.QuestionAnswerer(models.BertBackbone(1000, **small))
        >>> rows = {name: np.ones((2, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(answerer(rows).shape)
        (2, 7, 2)
    """

    kind = "question_answerer"

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None = None,
        dropout: float = 0.0,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        self.dropout = dropout
        policy = backbone.dtype_policy
        self.prediction_head = backbone.prediction_head()
        self.output_dropout = Dropout(dropout, dtype=policy, name="answer_dropout")
        self.output_dense = keras.layers.Dense(2, kernel_initializer=truncated_normal(), dtype=policy, name="logits")
        super().__init__(backbone, preprocessor, backbone.input, self._score(backbone(backbone.input)), **kwargs)

    def _score(self, output: Outputs, training: bool | None = None) -> Tensor:
        hidden = predicted_from(self.prediction_head, hidden_states(output))
        return self.output_dense(self.output_dropout(hidden, training=training))

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        raise InputError("a question has a row of its own, it can't take packed rows (document_ids)")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str = "auto",
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam, and cross-entropy over the tokens of a row; labels are int32 (B, 2), the
        tokens where the answer begins and ends."""
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = SpanLoss()
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def answer(self, questions: Sequence[str], contexts: Sequence[str]) -> "list[Answer]":
        """The answer to each question in its text; see `clozekit.model.tasks.answer_questions`."""
        from clozekit.model.tasks.answer_questions import answer_questions

        return answer_questions(self, questions, contexts)

    def head_config(self) -> Settings:
        return {"dropout": self.dropout}

    def head_layers(self) -> dict[str, keras.Layer]:
        return {**layers_of(self.prediction_head), "layers/dense": self.output_dense}


@keras.saving.register_keras_serializable(package="clozekit")
class SpanLoss(keras.losses.Loss):
    """The mean of the cross-entropies of begin and end (nats), labels int32 (B, 2), logits (B, T, 2)."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        logits = keras.ops.transpose(y_pred, (0, 2, 1))
        losses = keras.ops.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        return keras.ops.mean(losses, axis=-1)
