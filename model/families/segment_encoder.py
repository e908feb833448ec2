"""Encoders with segments and a pooler: BERT's, and those whose embeddings are laid out as it has them."""

from typing import ClassVar, Literal

import keras
from keras import ops

from clozekit.model.common.tensors import DType, Outputs, Settings, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import FirstToken, PositionEmbedding, truncated_normal
from clozekit.model.tasks.backbone import Backbone


class SegmentEncoder(Backbone):
    """Token, position and segment embeddings, norm, dropout, a projection where there is one; a pooler behind the blocks."""

    embedding_parts: ClassVar[tuple[str, ...]] = (
        "token_embedding",
        "position_embedding",
        "segment_embedding",
        "embeddings_layer_norm",
    )

    def make_embeddings(self, settings: Settings, dtype: DType, embeddings: Backbone | Literal["own"] | None) -> str:
        """Called by a family's constructor before it makes the blocks; returns what the names of those begin with."""
        prefix = self.share_embeddings(embeddings, settings)
        if not isinstance(embeddings, Backbone):
            width = settings["embedding_dim" if "embedding_dim" in settings else "hidden_dim"]
            self.make_token_embedding(settings["vocabulary_size"], width, dtype, prefix)
            self.position_embedding = PositionEmbedding(
                settings["max_sequence_length"],
                initializer=truncated_normal(),
                dtype=dtype,
                name=f"{prefix}position_embedding",
            )
            self.segment_embedding = keras.layers.Embedding(
                settings["num_segments"],
                width,
                embeddings_initializer=truncated_normal(),
                dtype=dtype,
                name=f"{prefix}segment_embedding",
            )
            self.embeddings_layer_norm = keras.layers.LayerNormalization(
                epsilon=settings["layer_norm_epsilon"], dtype=dtype, name=f"{prefix}embeddings_layer_norm"
            )
        self.embeddings_add = keras.layers.Add(dtype=dtype, name=f"{prefix}embeddings_add")
        self.embeddings_dropout = Dropout(settings["dropout"], dtype=dtype, name=f"{prefix}embeddings_dropout")
        return prefix

    def make_projection(self, hidden_dim: int, dtype: DType, prefix: str) -> None:
        """Between embeddings and blocks."""
        self.embedding_projection = keras.layers.Dense(
            hidden_dim, kernel_initializer=truncated_normal(), dtype=dtype, name=f"{prefix}embedding_projection"
        )

    def make_pooler(self, hidden_dim: int, dtype: DType) -> None:
        """Called behind the blocks; a generator has none."""
        self.first_token = FirstToken(dtype=dtype, name="first_token")
        self.pooled_dense = keras.layers.Dense(
            hidden_dim, activation="tanh", kernel_initializer=truncated_normal(), dtype=dtype, name="pooled_dense"
        )

    @classmethod
    def input_names(cls) -> tuple[str, ...]:
        return ("token_ids", "segment_ids", "padding_mask")

    def embed(
        self, token_ids: Tensor, segment_ids: Tensor | None, positions: Tensor | None, training: bool | None
    ) -> Tensor:
        tokens = self.token_embedding(token_ids)
        segments = self.segment_embedding(ops.zeros_like(token_ids) if segment_ids is None else segment_ids)
        embedded = self.embeddings_add([tokens, self.position_embedding(tokens, positions=positions), segments])
        embedded = self.embeddings_dropout(self.embeddings_layer_norm(embedded), training=training)
        return self.embedding_projection(embedded) if hasattr(self, "embedding_projection") else embedded

    def outputs_of(self, hidden: Tensor) -> Outputs:
        if not hasattr(self, "pooled_dense"):
            return hidden
        return {"sequence_output": hidden, "pooled_output": self.pooled_dense(self.first_token(hidden))}
