"""The text-embedding task: one vector a text, near those of texts that mean the same."""

from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from clozekit.model.common.tensors import Outputs, Rows, Settings, Tensor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.any_family import AnyFamilyTask
from clozekit.model.tasks.backbone import Backbone, hidden_states
from clozekit.model.tasks.task import TaskOptions
from clozekit.tokenizers.common.errors import InputError

POOLINGS = ("mean", "cls", "max")
# Below every value of a token. Finite, unlike sentence-transformers' own: a row of padding alone has a direction then.
NO_TOKEN = -1e9


@keras.saving.register_keras_serializable(package="clozekit")
class TextEmbedder(AnyFamilyTask):
    """A backbone of any family whose hidden states become one vector a text: their mean, the first token's or their maximum.

    As a Keras model it takes the backbone's inputs, int32 (B, T), and gives float32 (B, hidden_dim). `encode` takes texts.
    It has no weights beside the backbone's; contrastive fine-tuning (`clozekit finetune task=embedding`) trains those.

    Args:
        backbone, preprocessor: of one family, the preprocessor a text classifier's; None: for a model of ids.
        pooling: "mean" (of the tokens that are no padding), "cls" (the first token) or "max" (of each value, over those tokens).
        normalize: whether vectors have the length 1, so that their products are cosines.

    Raises:
        InputError: for parts of two families, another pooling, packed rows.

    Source: Reimers and Gurevych 2019 (arXiv 1908.10084), section 3.

    Example:

        >>> embedder = models.TextEmbedder.from_preset("tiny/preset")
        >>> vectors = embedder.encode(["The quick fox.", "A lazy dog."])
        >>> vectors.dtype, vectors.shape == (2, embedder.backbone.hidden_dim), np.round((vectors**2).sum(axis=1), 3).tolist()
        (dtype('float32'), True, [1.0, 1.0])
    """

    kind = "text_embedder"

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None = None,
        pooling: str = "mean",
        normalize: bool = True,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        if pooling not in POOLINGS:
            raise InputError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r:.80}")
        self.pooling = pooling
        self.normalize = normalize
        self.pool = PooledTokens(pooling, normalize, name="pooled_tokens")
        pooled = self.pool(hidden_states(backbone(backbone.input)), backbone.input["padding_mask"])
        super().__init__(backbone, preprocessor, backbone.input, pooled, **kwargs)

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        raise InputError("a text embedder gives one vector a row, it can't take packed rows (document_ids)")

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str | None = None,
        *,
        metrics: Sequence[keras.metrics.Metric | str] | None = None,
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam. There is no loss but your own: in-batch negatives need pairs of rows."""
        optimizer = self.default_optimizer() if optimizer == "auto" else optimizer
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """float32 (N, hidden_dim): the vector of each text, which is cut at the preprocessor's sequence_length.

        Raises InputError without a preprocessor, or for what is no list of texts.
        """
        if self.preprocessor is None:
            raise InputError("raw text needs a preprocessor, this task was built with preprocessor=None; give it one")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"encode takes a list of texts, got {texts!r:.80}")
        if not texts:
            return np.zeros((0, self.backbone.hidden_dim), np.float32)
        # Texts of one length together: little of a batch is padding.
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = self.predict([texts[place] for place in order], batch_size=batch_size, verbose=0)
        found = np.empty_like(vectors)
        found[order] = vectors
        return found

    def encode_text(self, text: str | Sequence[str], batch_size: int = 32) -> np.ndarray:
        """`encode`, of one text too; KerasHub's name."""
        return self.encode([text] if isinstance(text, str) else text, batch_size)

    def head_config(self) -> Settings:
        return {"pooling": self.pooling, "normalize": self.normalize}


@keras.saving.register_keras_serializable(package="clozekit")
class PooledTokens(keras.layers.Layer):
    """One vector a row, float32 (B, D), of hidden states (B, T, D) and their padding mask (B, T)."""

    def __init__(self, pooling: str, normalize: bool, **kwargs: object) -> None:
        # Sums of hundreds of values: never in half precision.
        super().__init__(dtype="float32", **{name: value for name, value in kwargs.items() if name != "dtype"})
        self.pooling = pooling
        self.normalize = normalize

    def call(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = ops.cast(hidden, "float32")
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif self.pooling == "max":
            real = ops.expand_dims(ops.cast(padding_mask, "bool"), -1)
            pooled = ops.max(ops.where(real, hidden, NO_TOKEN), axis=1)
        else:
            # Not by indexing: LiteRT has no operation for that.
            weights = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
            # A row of padding alone has the mean 0, not 0/0; at 1e-9 as sentence-transformers has it.
            pooled = ops.sum(hidden * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1e-9)
        if not self.normalize:
            return pooled
        # As torch's: a vector of nothing stays so.
        return pooled / ops.maximum(ops.sqrt(ops.sum(ops.square(pooled), axis=-1, keepdims=True)), 1e-12)

    def compute_output_shape(
        self, hidden_shape: tuple[int | None, ...], padding_mask_shape: tuple[int | None, ...] | None = None
    ) -> tuple[int | None, ...]:
        return hidden_shape[0], hidden_shape[-1]

    def get_config(self) -> Settings:
        return {**super().get_config(), "pooling": self.pooling, "normalize": self.normalize}
