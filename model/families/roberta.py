"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): backbone, tasks, preprocessors."""

from typing import Any, ClassVar

import keras

from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import PositionEmbedding, TokenAndPositionEmbedding, truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import FirstTokenClassifier
from clozekit.tokenizers.families import RobertaTokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaBackbone(Backbone):
    """RoBERTa's encoder: no segments, no pooler; gives the hidden states (B, T, hidden_dim) alone.

    Row t of the position table is position t; fairseq's and Hugging Face's tables have two rows more in front.
    """

    families: ClassVar[tuple[str, ...]] = ("roberta", "xlm_roberta")
    own_setting_defaults: ClassVar[dict[str, Any]] = {
        "activation": "gelu",
        "layer_norm_epsilon": 1e-5,
        "attention_dropout": None,
    }

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-5,
        attention_dropout: float | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        settings = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
            "max_sequence_length": max_sequence_length,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
        }
        self.check_settings(settings)
        self.embeddings = TokenAndPositionEmbedding(
            keras.layers.ReversibleEmbedding(
                vocabulary_size,
                hidden_dim,
                embeddings_initializer=truncated_normal(),
                dtype=dtype,
                name="token_embedding",
            ),
            PositionEmbedding(
                max_sequence_length, initializer=truncated_normal(), dtype=dtype, name="position_embedding"
            ),
            dtype=dtype,
            name="embeddings",
        )
        self.token_embedding = self.embeddings.token_embedding
        self.position_embedding = self.embeddings.position_embedding
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=dtype, name="embeddings_layer_norm"
        )
        self.embeddings_dropout = Dropout(dropout, dtype=dtype, name="embeddings_dropout")
        self.transformer_layers = [
            self.encoder_layer(f"transformer_layer_{index}", settings, dtype) for index in range(num_layers)
        ]
        super().__init__(settings, dtype, **kwargs)

    def embed(self, token_ids: Any, segment_ids: Any, positions: Any, training: bool | None) -> Any:
        embedded = self.embeddings_layer_norm(self.embeddings(token_ids, positions=positions))
        return self.embeddings_dropout(embedded, training=training)


class RobertaMaskedLMPreprocessor(MaskedLMPreprocessor):
    """<s> a </s></s> b </s>, then masking."""

    tokenizer_cls: ClassVar[type[Any]] = RobertaTokenizer
    num_separators = 2


class RobertaTextClassifierPreprocessor(TextClassifierPreprocessor):
    """<s> a </s></s> b </s>."""

    tokenizer_cls: ClassVar[type[Any]] = RobertaTokenizer
    num_separators = 2


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaMaskedLM(MaskedLM):
    """RoBERTa with its masked-LM head, tied to the token embedding."""

    backbone_cls = RobertaBackbone
    preprocessor_cls = RobertaMaskedLMPreprocessor
    head_defaults: ClassVar[dict[str, Any]] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class RobertaTextClassifier(FirstTokenClassifier):
    """RoBERTa with a pooler of its own and a dense layer on the first token."""

    backbone_cls = RobertaBackbone
    preprocessor_cls = RobertaTextClassifierPreprocessor
