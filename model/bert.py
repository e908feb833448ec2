"""BERT: its backbone and its masked-LM task (Devlin et al. 2018, arXiv 1810.04805)."""

from typing import Any

import keras

from clozekit.model.layers import MaskedLMHead, PositionEmbedding, TransformerEncoder, attention_mask
from clozekit.model.masked_lm import MaskedLM


def gelu_approximate(x: Any) -> Any:
    """GELU by tanh, as in the original code."""
    return keras.activations.gelu(x, approximate=True)


def bert_initializer() -> Any:
    return keras.initializers.TruncatedNormal(stddev=0.02)


class BertBackbone(keras.Model):
    """BERT's encoder.

    As a Keras model it takes a dict of token_ids, segment_ids and padding_mask, each int32 (B, T), and gives a dict of
    sequence_output (B, T, hidden_dim) and pooled_output (B, hidden_dim). `encode` is the same with packed rows.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size, hidden_dim, embeddings_initializer=bert_initializer(), dtype=dtype, name="token_embedding"
        )
        self.position_embedding = PositionEmbedding(
            max_sequence_length, initializer=bert_initializer(), dtype=dtype, name="position_embedding"
        )
        self.segment_embedding = keras.layers.Embedding(
            num_segments, hidden_dim, embeddings_initializer=bert_initializer(), dtype=dtype, name="segment_embedding"
        )
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            epsilon=1e-12, dtype=dtype, name="embeddings_layer_norm"
        )
        self.embeddings_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="embeddings_dropout")
        self.transformer_layers = [
            TransformerEncoder(
                intermediate_dim,
                num_heads,
                dropout=dropout,
                activation=gelu_approximate,
                layer_norm_epsilon=1e-12,
                kernel_initializer=bert_initializer(),
                dtype=dtype,
                name=f"transformer_layer_{index}",
            )
            for index in range(num_layers)
        ]
        self.pooled_dense = keras.layers.Dense(
            hidden_dim, activation="tanh", kernel_initializer=bert_initializer(), dtype=dtype, name="pooled_dense"
        )

        inputs = {
            name: keras.Input(shape=(None,), dtype="int32", name=name)
            for name in ("token_ids", "segment_ids", "padding_mask")
        }
        sequence = self.encode(inputs["token_ids"], inputs["padding_mask"], segment_ids=inputs["segment_ids"])
        pooled = self.pooled_dense(sequence[:, 0, :])
        super().__init__(inputs=inputs, outputs={"sequence_output": sequence, "pooled_output": pooled}, **kwargs)

        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments

    def encode(
        self,
        token_ids: Any,
        padding_mask: Any,
        segment_ids: Any = None,
        document_ids: Any = None,
        positions: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Hidden states (B, T, hidden_dim) of token_ids (B, T).

        With document_ids (1.. per packed document, 0 = padding) and positions (restarting at each document), a packed
        row gives each of its documents what it would have had alone. segment_ids None means all segment A.
        """
        tokens = self.token_embedding(token_ids)
        segments = self.segment_embedding(keras.ops.zeros_like(token_ids) if segment_ids is None else segment_ids)
        hidden = self.embeddings_layer_norm(tokens + self.position_embedding(tokens, positions=positions) + segments)
        hidden = self.embeddings_dropout(hidden, training=training)
        mask = attention_mask(padding_mask, document_ids)
        for layer in self.transformer_layers:
            hidden = layer(hidden, attention_mask=mask, training=training)
        return hidden

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "max_sequence_length": self.max_sequence_length,
            "num_segments": self.num_segments,
        }


class BertMaskedLM(MaskedLM):
    """BERT with the masked-LM head of its paper, tied to the token embedding."""

    backbone_cls = BertBackbone

    def __init__(self, backbone: BertBackbone, **kwargs: Any) -> None:
        head = MaskedLMHead(
            token_embedding=backbone.token_embedding,
            intermediate_activation=lambda x: keras.activations.gelu(x, approximate=False),
            kernel_initializer=bert_initializer(),
            dtype=backbone.token_embedding.dtype_policy,
            name="mlm_head",
        )
        super().__init__(backbone, head, **kwargs)
