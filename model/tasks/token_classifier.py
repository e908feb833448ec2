"""The token-classification task (named entities, parts of speech): a class for every token of a row."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

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

# The class of tokens that have none: special ones, padding, all but the first piece of a word.
NO_CLASS = -100


@keras.saving.register_keras_serializable(package="clozekit")
class TokenClassifier(AnyFamilyTask):
    """A backbone of any family with dropout and a dense layer on each token's hidden state.

    As a Keras model it takes the backbone's inputs, int32 (B, T), and gives logits (B, T, num_classes). Labels of `fit` are
    int32 (B, T), those of tokens without a class -100. `tag_words` gives the classes of words.

    Args:
        backbone, preprocessor: of one family, the preprocessor a text classifier's; None: for a model of ids.
        num_classes: how many classes there are.
        dropout: rate before the last layer, 0 to 1; None: the backbone's.
        labels: the names of the classes in the order of their ids, such as O, B-PER, I-PER; None where they have none.

    Raises:
        InputError: for parts of two families, num_classes below 1, labels that don't name each class once.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 5.3.

    Example:

        >>> tagger = models.TokenClassifier.from_preset("tiny/preset", num_classes=3, labels=("O", "B-ANIMAL", "I-ANIMAL"))
        >>> inputs = tagger.preprocessor(["The quick fox.", "A lazy dog."])
        >>> tuple(tagger(inputs).shape)[-1]
        3
        >>> [len(tags) for tags in tagger.tag_words([["The", "quick", "fox"], ["dogs"]])]
        [3, 1]
    """

    kind = "token_classifier"
    needs_num_classes: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        dropout: float | None = None,
        labels: Sequence[str] | None = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        if num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        if labels is not None and (len(labels) != num_classes or len(set(labels)) != num_classes):
            raise InputError(f"labels must name each of the {num_classes} classes once, got {', '.join(labels)}")
        self.num_classes = num_classes
        self.labels = labels
        self.dropout = backbone.dropout if dropout is None else dropout
        policy = backbone.dtype_policy
        self.prediction_head = backbone.prediction_head()
        self.output_dropout = Dropout(self.dropout, dtype=policy, name="classifier_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes, kernel_initializer=truncated_normal(), dtype=policy, name="logits"
        )
        super().__init__(backbone, preprocessor, backbone.input, self._classify(backbone(backbone.input)), **kwargs)

    def _classify(self, output: Outputs, training: bool | None = None) -> Tensor:
        hidden = predicted_from(self.prediction_head, hidden_states(output))
        return self.output_dense(self.output_dropout(hidden, training=training))

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        hidden = self.backbone.encode(**self.backbone.known_inputs(inputs), training=training)
        return self._classify(hidden, training)

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str = "auto",
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam, and cross-entropy of the tokens that have a class."""
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=NO_CLASS)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[str | None]]:
        """The class of each word of each sentence, None of one without any token; see `clozekit.model.tasks.tag_words`."""
        from clozekit.model.tasks.tag_words import tag_words

        return [[tag.label for tag in tags] for tags in tag_words(self, sentences)]

    def head_config(self) -> Settings:
        named = {} if self.labels is None else {"labels": list(self.labels)}
        return {"num_classes": self.num_classes, "dropout": self.dropout, **named}

    def head_layers(self) -> dict[str, keras.Layer]:
        return {**layers_of(self.prediction_head), "layers/dense": self.output_dense}
