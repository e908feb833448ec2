"""Encoders without segments and without a pooler: RoBERTa's, and those that are laid out as it is."""

from typing import ClassVar, Literal

import keras

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import DType, Settings, Tensor
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import TokenAndPositionEmbedding, truncated_normal
from clozekit.model.tasks.backbone import Backbone


class PlainEncoder(Backbone):
    """Token and position embeddings, norm, dropout, blocks; gives the hidden states (B, T, hidden_dim) alone."""

    embedding_parts: ClassVar[tuple[str, ...]] = (
        "embeddings",
        "token_embedding",
        "position_embedding",
        "embeddings_layer_norm",
    )

    def make_layers(
        self,
        settings: Settings,
        dtype: DType,
        embeddings_name: str,
        embeddings: Backbone | Literal["own"] | None = None,
    ) -> None:
        """Called by a family's constructor before Backbone's; settings: as Backbone takes them."""
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        prefix = self.share_embeddings(embeddings, settings)
        if not isinstance(embeddings, Backbone):
            self._make_embeddings(settings, dtype, embeddings_name, prefix)
        self.embeddings_dropout = Dropout(settings["dropout"], dtype=dtype, name=f"{prefix}embeddings_dropout")
        self.transformer_layers = [
            self.encoder_layer(f"{prefix}transformer_layer_{index}", settings, dtype)
            for index in range(settings["num_layers"])
        ]

    def _make_embeddings(self, settings: Settings, dtype: DType, name: str, prefix: str) -> None:
        self.embeddings = TokenAndPositionEmbedding(
            settings["vocabulary_size"],
            settings["max_sequence_length"],
            settings["hidden_dim"],
            embeddings_initializer=truncated_normal(),
            dtype=dtype,
            name=f"{prefix}{name}",
        )
        self.token_embedding = self.embeddings.token_embedding
        self.position_embedding = self.embeddings.position_embedding
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            epsilon=settings["layer_norm_epsilon"], dtype=dtype, name=f"{prefix}embeddings_layer_norm"
        )

    def embed(
        self, token_ids: Tensor, segment_ids: Tensor | None, positions: Tensor | None, training: bool | None
    ) -> Tensor:
        embedded = self.embeddings_layer_norm(self.embeddings(token_ids, positions=positions))
        return self.embeddings_dropout(embedded, training=training)
