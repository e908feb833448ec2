"""The text-classification task: a backbone and a dense layer on its pooled output."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import keras

from clozekit.model.common.tensors import Activation, Outputs, Rows, Settings, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import ACTIVATIONS, FirstToken, truncated_normal
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.backbone import Backbone, hidden_states
from clozekit.model.tasks.task import Task, TaskOptions
from clozekit.tokenizers.common.errors import InputError

# What a classifier's outputs mean: one class of several, each class or not, numbers.
PROBLEMS = ("single_label", "multi_label", "regression")


class ClassifierOptions(TaskOptions, total=False):
    """What every text classifier takes besides its own arguments."""

    labels: Sequence[str] | None
    problem: str | None


class TextClassifier(Task):
    """Base of the families' text classifiers, and the head of those whose backbone has a pooler.

    As a Keras model it takes the backbone's inputs, int32 (B, T), and gives logits (B, num_classes), float32 unless the
    backbone's dtype is another, or what `activation` makes of them.

    Args:
        backbone, preprocessor: of the task's family; preprocessor None: for a model of ids.
        num_classes: how many classes, or numbers of a regression, there are.
        activation: "softmax" or another of Keras's, by name or as a function; None: logits.
        dropout: rate before the last layer, 0 to 1.
        labels: the names of the classes in the order of their ids, kept in the preset; None where they have none.
        problem: "single_label" (a text has one of the classes), "multi_label" (any number of them), "regression" (each
            output is a number); None: a regression where there is one output, else one label. It decides `compile`'s loss and what `classify_texts` makes of the outputs, never the outputs themselves.

    Raises:
        InputError: for parts of another family, num_classes below 1, labels that don't name each class once, another problem,
            packed rows.

    Example:

        >>> classifier = models.TextClassifier.from_preset("tiny/preset", num_classes=2, labels=("dogs", "foxes"))
        >>> inputs = classifier.preprocessor(["The quick brown fox.", "A lazy dog.", "A dog."])
        >>> tuple(classifier(inputs).shape)
        (3, 2)
        >>> classifier.labels
        ('dogs', 'foxes')
    """

    kind = "text_classifier"
    needs_num_classes: ClassVar[bool] = True
    default_dropout: ClassVar[float] = 0.1

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        dropout: float = 0.1,
        labels: Sequence[str] | None = None,
        problem: str | None = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        if num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        if isinstance(activation, dict):
            # Keras would build whatever it describes.
            raise InputError(f"activation must be a name or a function, got {activation!r:.80}; code is never built")
        if labels is not None and (len(labels) != num_classes or len(set(labels)) != num_classes):
            raise InputError(f"labels must name each of the {num_classes} classes once, got {', '.join(labels)}")
        if problem is not None and problem not in PROBLEMS:
            raise InputError(f"problem must be one of {', '.join(PROBLEMS)}, got {problem!r:.80}")
        self.num_classes = num_classes
        self.problem = problem or usual_problem(num_classes)
        self.labels = labels
        self.activation = keras.activations.get(activation)
        self.dropout = dropout
        policy = backbone.dtype_policy
        self.output_dropout = Dropout(self.rate_before_output(backbone), dtype=policy, name="classifier_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=truncated_normal(),
            activation=self.activation,
            dtype=policy,
            name="logits",
        )
        logits = self.classify(backbone(backbone.input), backbone.input, None)
        super().__init__(backbone, preprocessor, backbone.input, logits, **kwargs)

    def rate_before_output(self, backbone: Backbone) -> float:
        """Of the dropout before the last layer."""
        return self.dropout

    def classify(self, output: Outputs, inputs: Rows, training: bool | None) -> Tensor:
        """Logits from what the backbone gives for its inputs."""
        assert isinstance(output, dict), "a backbone without a pooler needs FirstTokenClassifier"
        return self.output_dense(self.output_dropout(output["pooled_output"], training=training))

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        raise InputError("a text classifier gives one answer a row, it can't take packed rows (document_ids)")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str = "auto",
        *,
        metrics: Sequence[keras.metrics.Metric | str] | str | None = "auto",
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam, and of one label cross-entropy and accuracy, of several binary
        cross-entropy and accuracy (labels are 0 or 1, (B, num_classes)), of a regression the squared error."""
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = self._default_loss()
        if isinstance(metrics, str) and metrics == "auto":
            metrics = self._default_metrics()
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def _default_loss(self) -> keras.losses.Loss:
        if self.problem == "multi_label":
            return keras.losses.BinaryCrossentropy(from_logits=self.activation is not keras.activations.sigmoid)
        if self.problem == "regression":
            return keras.losses.MeanSquaredError()
        return keras.losses.SparseCategoricalCrossentropy(from_logits=self.activation is not keras.activations.softmax)

    def _default_metrics(self) -> list[keras.metrics.Metric]:
        if self.problem == "multi_label":
            threshold = 0.5 if self.activation is keras.activations.sigmoid else 0.0
            return [keras.metrics.BinaryAccuracy(threshold=threshold)]
        return [] if self.problem == "regression" else [keras.metrics.SparseCategoricalAccuracy()]

    def head_config(self) -> Settings:
        """Constructor arguments besides backbone and preprocessor, under KerasHub's names."""
        return {
            "num_classes": self.num_classes,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }

    def head_settings(self) -> Settings:
        """Constructor arguments that KerasHub has not."""
        named = {} if self.labels is None else {"labels": list(self.labels)}
        return named if self.problem == usual_problem(self.num_classes) else {**named, "problem": self.problem}

    def head_layers(self) -> dict[str, keras.Layer]:
        """The head's layers by their place in KerasHub's `task.weights.h5`."""
        return {"layers/dense": self.output_dense}

    def get_config(self) -> Settings:
        return {**super().get_config(), **self.head_config(), **self.head_settings()}


class FirstTokenClassifier(TextClassifier):
    """The head of families without a pooler: dropout, dense with tanh, dropout, dense, on the first token."""

    pooled_activation: str = "tanh"
    # Whether there is dropout before the first dense layer too.
    drops_first: ClassVar[bool] = True
    # Of the first dense layer in Keras: no other layer of the model may have it.
    pooled_name: ClassVar[str] = "pooled_dense"

    @classmethod
    def pooled_initializer(cls) -> keras.Initializer | str:
        """Of the first dense layer's kernel. KerasHub leaves RoBERTa's at Keras's own."""
        return "glorot_uniform"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.0,
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        self.hidden_dim = backbone.hidden_dim if hidden_dim is None else hidden_dim
        policy = backbone.dtype_policy
        self.first_token = FirstToken(dtype=policy, name="first_token")
        self.pooled_dropout = Dropout(dropout, dtype=policy, name="pooled_dropout")
        self.pooled_dense = keras.layers.Dense(
            self.hidden_dim,
            activation=ACTIVATIONS[self.pooled_activation],
            kernel_initializer=self.pooled_initializer(),
            dtype=policy,
            name=self.pooled_name,
        )
        super().__init__(backbone, num_classes, preprocessor, activation, dropout, **kwargs)

    def classify(self, output: Outputs, inputs: Rows, training: bool | None) -> Tensor:
        first = self.first_token(hidden_states(output))
        pooled = self.pooled_dense(self.pooled_dropout(first, training=training) if self.drops_first else first)
        return self.output_dense(self.output_dropout(pooled, training=training))

    def head_config(self) -> Settings:
        return {**super().head_config(), "hidden_dim": self.hidden_dim}

    def head_layers(self) -> dict[str, keras.Layer]:
        return {"layers/dense": self.pooled_dense, "layers/dense_1": self.output_dense}


def usual_problem(num_classes: int) -> str:
    """What a classifier of so many outputs does where nothing is said."""
    return "regression" if num_classes == 1 else "single_label"
