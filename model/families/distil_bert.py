"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): half of BERT's blocks, no segments, no pooler."""

from typing import ClassVar, Literal, Self, Unpack

import keras

from clozekit.model.common.tensors import Activation, DType, Settings
from clozekit.model.families.family import Family, HuggingFaceNames, numbered
from clozekit.model.families.plain_encoder import PlainEncoder
from clozekit.model.layers.transformer_layers import truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.text_classifier import ClassifierOptions, FirstTokenClassifier
from clozekit.tokenizers.families.distil_bert_tokenizer import DistilBertTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class DistilBertBackbone(PlainEncoder):
    """DistilBERT's encoder: BERT's with half of the blocks, no segments and no pooler.

    Gives the hidden states (B, T, hidden_dim) alone. Inputs, arguments and errors: see `Backbone`.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3.

    Example:

        >>> backbone = models.DistilBertBackbone(
        ...     vocabulary_size=30_522, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(backbone(rows).shape)
        (3, 7, 16)
    """

    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu",
        "layer_norm_epsilon": 1e-12,
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
        layer_norm_epsilon: float = 1e-12,
        attention_dropout: float | None = None,
        dtype: DType = None,
        embeddings: Self | Literal["own"] | None = None,
        **kwargs: Unpack[ModelOptions],
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
        self.make_layers(settings, dtype, "token_and_position_embedding", embeddings)
        super().__init__(settings, dtype, **kwargs)


class DistilBertMaskedLMPreprocessor(MaskedLMPreprocessor):
    """DistilBERT's masked-LM preprocessor: `[CLS] a [SEP] b [SEP]`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3.

    Example:

        >>> tokenizer = models.DistilBertTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.DistilBertMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("A lazy dog.", "The fox."))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([14, 6], [1.0, 1.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = DistilBertTokenizer


class DistilBertTextClassifierPreprocessor(TextClassifierPreprocessor):
    """DistilBERT's text-classifier preprocessor: `[CLS] a [SEP] b [SEP]`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3.

    Example:

        >>> tokenizer = models.DistilBertTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("A lazy dog.", "The fox."))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS] a lazy dog . [SEP] the fox . [SEP] [PAD] [PAD]'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = DistilBertTokenizer


@keras.saving.register_keras_serializable(package="clozekit")
class DistilBertMaskedLM(MaskedLM):
    """DistilBERT with its masked-LM head, tied to the token embedding.

    Inputs, outputs, arguments and errors: see `MaskedLM`.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3; distillation is no part of it.

    Example:

        >>> masked_lm = models.DistilBertMaskedLM(models.DistilBertBackbone(1000, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = DistilBertBackbone
    preprocessor_cls = DistilBertMaskedLMPreprocessor
    # KerasHub's head keeps 1e-5 under a body that has 1e-12.
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="clozekit")
class DistilBertTextClassifier(FirstTokenClassifier):
    """DistilBERT with a dense layer with ReLU, dropout and a dense layer on the first token.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        hidden_dim: values of the first dense layer; None: the backbone's.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 4; the layers are those of Hugging Face's class.

    Example:

        >>> classifier = models.DistilBertTextClassifier(models.DistilBertBackbone(1000, **small), num_classes=3)
        >>> rows = {name: np.ones((2, 7), "int32") for name in ("token_ids", "padding_mask")}
        >>> tuple(classifier(rows).shape)
        (2, 3)
    """

    backbone_cls = DistilBertBackbone
    preprocessor_cls = DistilBertTextClassifierPreprocessor
    pooled_activation = "relu"
    drops_first = False

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        super().__init__(backbone, num_classes, preprocessor, activation, hidden_dim, dropout, **kwargs)

    @classmethod
    def pooled_initializer(cls) -> keras.Initializer | str:
        return truncated_normal()


FAMILY = Family(
    "distil_bert",
    DistilBertTokenizer,
    DistilBertBackbone,
    DistilBertMaskedLM,
    DistilBertTextClassifier,
    DistilBertMaskedLMPreprocessor,
    DistilBertTextClassifierPreprocessor,
    HuggingFaceNames(
        "distilbert",
        "distilbert.",
        head_dense="vocab_transform",
        head_norm="vocab_layer_norm",
        head_bias="vocab_projector.bias",
        decoder="vocab_projector",
        classifier={"pooled_dense": "pre_classifier", "output_dense": "classifier"},
        blocks=numbered("transformer.layer"),
        block={
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "inner": "ffn.lin1",
            "outer": "ffn.lin2",
            "norm": "output_layer_norm",
        },
        settings={
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "intermediate_dim": "hidden_dim",
            "dropout": "dropout",
            "attention_dropout": "attention_dropout",
            "max_sequence_length": "max_position_embeddings",
            "activation": "activation",
        },
        defaults={
            "n_layers": 6,
            "n_heads": 12,
            "dim": 768,
            "hidden_dim": 3072,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "max_position_embeddings": 512,
            "activation": "gelu",
        },
        fixed={"layer_norm_epsilon": 1e-12},
        segments="none",
        classifier_dropout="seq_classif_dropout",
        default_classifier_dropout=0.2,
        answer_dropout="qa_dropout",
        default_answer_dropout=0.1,
        # The table of positions is stored, whatever it began as.
        written={"sinusoidal_pos_embds": False, "qa_dropout": 0.1},
    ),
)
