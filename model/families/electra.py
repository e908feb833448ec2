"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): backbone, tasks, preprocessors."""

from typing import ClassVar, Self, Unpack

import keras
import numpy as np
from keras import ops

from clozekit.model.common.dtype_policies import policy_of_layers
from clozekit.model.common.tensors import Activation, DType, Outputs, Rows, Settings, Tensor
from clozekit.model.families.family import DEFAULTS, SETTINGS, Family, HuggingFaceNames
from clozekit.model.layers.detection_head import DetectionHead
from clozekit.model.layers.dropout import Dropout
from clozekit.model.layers.transformer_layers import FirstToken, PositionEmbedding, truncated_normal
from clozekit.model.preprocessing.masked_lm_preprocessor import MaskedLMPreprocessor
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.preprocessing.text_classifier_preprocessor import TextClassifierPreprocessor
from clozekit.model.tasks.backbone import Backbone, ModelOptions
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector, detection_head_of, layers_of
from clozekit.model.tasks.task import TaskOptions
from clozekit.model.tasks.text_classifier import ClassifierOptions, FirstTokenClassifier
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.electra_tokenizer import ElectraTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

# The arguments that say the sizes of a generator, and which of a backbone's they are.
GENERATOR_SIZES = {
    "num_generator_layers": "num_layers",
    "num_generator_heads": "num_heads",
    "generator_hidden_dim": "hidden_dim",
    "generator_intermediate_dim": "intermediate_dim",
}


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraBackbone(Backbone):
    """ELECTRA's encoder, of a discriminator or of a generator: BERT's with embeddings of a width of their own.

    Gives a dict: sequence_output (B, T, hidden_dim) and pooled_output (B, hidden_dim). The pooler is KerasHub's: the paper and
    Hugging Face have none, and no task here reads it; what shares embeddings has none. Inputs, the other arguments and errors: see `Backbone`.

    Args:
        embedding_dim: values of an embedding, projected to hidden_dim where that is another number.
        num_segments: rows of the segment table.
        embeddings: a backbone whose tables and their normalisation this one shares, as a generator shares its discriminator's;
            None: its own.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.2.

    Example:

        >>> backbone = models.ElectraBackbone(
        ...     vocabulary_size=30_522, num_layers=2, num_heads=2, hidden_dim=16, embedding_dim=8, intermediate_dim=32
        ... )
        >>> rows = {name: np.ones((3, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(backbone(rows)["sequence_output"].shape)
        (3, 7, 16)
    """

    setting_names = (*Backbone.setting_names, "embedding_dim", "num_segments")
    own_setting_defaults: ClassVar[Settings] = {
        "activation": "gelu_approximate",
        "layer_norm_epsilon": 1e-12,
        "attention_dropout": None,
    }
    keras_hub_names: ClassVar[dict[str, str]] = {"vocabulary_size": "vocab_size"}
    has_used_pooler = False

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        embedding_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        activation: str = "gelu_approximate",
        layer_norm_epsilon: float = 1e-12,
        attention_dropout: float | None = None,
        dtype: DType = None,
        embeddings: Self | None = None,
        **kwargs: Unpack[ModelOptions],
    ) -> None:
        settings = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "embedding_dim": embedding_dim,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
            "max_sequence_length": max_sequence_length,
            "num_segments": num_segments,
            "activation": activation,
            "layer_norm_epsilon": layer_norm_epsilon,
            "attention_dropout": attention_dropout,
        }
        self.check_settings(settings)
        dtype = policy_of_layers(dtype)
        if embeddings is None:
            self._make_embeddings(settings, dtype)
        else:
            self._share_embeddings(embeddings)
        # Both stand in one task: names of variables are told apart by it.
        prefix = "" if embeddings is None else "generator_"
        self.embeddings_add = keras.layers.Add(dtype=dtype, name=f"{prefix}embeddings_add")
        self.embeddings_dropout = Dropout(dropout, dtype=dtype, name=f"{prefix}embeddings_dropout")
        if embedding_dim != hidden_dim:
            self.embedding_projection = keras.layers.Dense(
                hidden_dim,
                kernel_initializer=truncated_normal(),
                dtype=dtype,
                name=f"{prefix}embedding_projection",
            )
        self.transformer_layers = [
            self.encoder_layer(f"{prefix}transformer_layer_{index}", settings, dtype) for index in range(num_layers)
        ]
        if embeddings is None:
            self.first_token = FirstToken(dtype=dtype, name="first_token")
            self.pooled_dense = keras.layers.Dense(
                hidden_dim, activation="tanh", kernel_initializer=truncated_normal(), dtype=dtype, name="pooled_dense"
            )
        super().__init__(settings, dtype, **kwargs)

    def _make_embeddings(self, settings: Settings, dtype: DType) -> None:
        self.token_embedding = keras.layers.ReversibleEmbedding(
            settings["vocabulary_size"],
            settings["embedding_dim"],
            embeddings_initializer=truncated_normal(),
            dtype=dtype,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            settings["max_sequence_length"], initializer=truncated_normal(), dtype=dtype, name="position_embedding"
        )
        self.segment_embedding = keras.layers.Embedding(
            settings["num_segments"],
            settings["embedding_dim"],
            embeddings_initializer=truncated_normal(),
            dtype=dtype,
            name="segment_embedding",
        )
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            epsilon=settings["layer_norm_epsilon"], dtype=dtype, name="embeddings_layer_norm"
        )

    def _share_embeddings(self, other: Self) -> None:
        self.token_embedding = other.token_embedding
        self.position_embedding = other.position_embedding
        self.segment_embedding = other.segment_embedding
        self.embeddings_layer_norm = other.embeddings_layer_norm

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


class ElectraMaskedLMPreprocessor(MaskedLMPreprocessor):
    """ELECTRA's masked-LM preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`, then masks.

    What goes in and comes out, arguments and errors: see `MaskedLMPreprocessor`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2: what the generator reads.

    Example:

        >>> tokenizer = models.ElectraTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.ElectraMaskedLMPreprocessor(tokenizer, sequence_length=12, seed=1)
        >>> x, y, sample_weight = preprocessor(("A lazy dog.", "The fox."))
        >>> {key: tuple(value.shape) for key, value in x.items()}
        {'token_ids': (12,), 'padding_mask': (12,), 'segment_ids': (12,), 'mask_positions': (2,)}
        >>> y.numpy().tolist(), sample_weight.numpy().tolist()
        ([14, 6], [1.0, 1.0])
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ElectraTokenizer
    has_segments = True


class ElectraTextClassifierPreprocessor(TextClassifierPreprocessor):
    """ELECTRA's text-classifier preprocessor: `[CLS] a [SEP] b [SEP], segments 0 and 1`.

    What goes in and comes out, arguments and errors: see `TextClassifierPreprocessor`.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.1.

    Example:

        >>> tokenizer = models.ElectraTokenizer(tokenizer.get_vocabulary(), lowercase=True)
        >>> preprocessor = models.ElectraTextClassifierPreprocessor(tokenizer, sequence_length=12)
        >>> x = preprocessor(("A lazy dog.", "The fox."))
        >>> tokenizer.detokenize(x["token_ids"].numpy())
        '[CLS] a lazy dog . [SEP] the fox . [SEP] [PAD] [PAD]'
    """

    tokenizer_cls: ClassVar[type[Tokenizer]] = ElectraTokenizer
    has_segments = True


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraMaskedLM(MaskedLM):
    """ELECTRA's masked LM, a backbone with the masked-LM head of its paper; or a discriminator with its generator.

    Without the sizes of a generator it is the masked LM of its backbone. With them, as `objective: replaced` trains it, its backbone
    is the discriminator, masked tokens are predicted by a generator that shares its embeddings, and `detection_logits` says of
    each token whether it was replaced; `fit` trains the generator alone. Inputs and outputs: see `MaskedLM`.

    Args:
        backbone, preprocessor: of the family; preprocessor None: for a model of ids.
        head_activation, head_layer_norm_epsilon: of the masked-LM head, gelu and 1e-12 if not given.
        num_generator_layers, num_generator_heads, generator_hidden_dim, generator_intermediate_dim: sizes of the generator, all or
            none; None: there is none.

    Raises:
        InputError: for parts of another family, some sizes of a generator without the others, an unknown activation, a head of
            pairs.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2; the layers are those of Hugging Face's class.

    Example:

        >>> masked_lm = models.ElectraMaskedLM(models.ElectraBackbone(1000, embedding_dim=4, **small))
        >>> rows = {name: np.ones((1, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(masked_lm({**rows, "mask_positions": np.array([[2, 4]], "int32")}).shape)
        (1, 2, 1000)
    """

    backbone_cls = ElectraBackbone
    preprocessor_cls = ElectraMaskedLMPreprocessor
    is_of_keras_hub = False
    head_defaults: ClassVar[Settings] = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-12}

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None = None,
        head_activation: str | None = None,
        head_layer_norm_epsilon: float | None = None,
        num_generator_layers: int | None = None,
        num_generator_heads: int | None = None,
        generator_hidden_dim: int | None = None,
        generator_intermediate_dim: int | None = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        sizes = (num_generator_layers, num_generator_heads, generator_hidden_dim, generator_intermediate_dim)
        if None in sizes and set(sizes) != {None}:
            raise InputError(f"a generator needs all of {', '.join(GENERATOR_SIZES)}, got {sizes}; give all, or none")
        self._generator_sizes = dict(zip(GENERATOR_SIZES, sizes, strict=True)) if num_generator_layers else {}
        self.generator: ElectraBackbone | None = None
        if self._generator_sizes:
            self.generator = ElectraBackbone(
                **{**backbone.settings(), **self._generator_settings()},
                dtype=backbone.dtype_policy,
                embeddings=backbone,
                name="generator",
            )
        super().__init__(backbone, preprocessor, head_activation, head_layer_norm_epsilon, **kwargs)
        self.detection_head: DetectionHead | None = None
        if self.generator is not None:
            self.detection_head = detection_head_of(backbone)
            self.detection_head.build((None, None, backbone.hidden_dim))

    def _generator_settings(self) -> Settings:
        """Constructor arguments of the generator that are not its discriminator's."""
        return {ours: self._generator_sizes[name] for name, ours in GENERATOR_SIZES.items()}

    def masked_backbone(self, backbone: Backbone) -> Backbone:
        return backbone if self.generator is None else self.generator

    def detection_logits(self, batch: Rows, training: bool | None = False) -> Tensor:
        """Logits (B, T) of the tokens of a batch, packed or not: above 0 where one was rather replaced."""
        hidden = self.backbone.encode(**self.backbone.known_inputs(batch), training=training)
        return self._detection_head()(hidden)

    def _detection_head(self) -> DetectionHead:
        if self.detection_head is None:
            raise InputError(
                f"this {type(self).__name__} has no discriminator; make it with {', '.join(GENERATOR_SIZES)}"
            )
        return self.detection_head

    def detection_variables(self) -> list[keras.Variable]:
        """What the detection alone trains: the discriminator's own layers and its head."""
        generator = [] if self.generator is None else self.generator.weights
        others = {id(weight) for weight in [*generator, *self.backbone.pooled_dense.weights]}
        weights = [*self.backbone.trainable_weights, *self._detection_head().trainable_weights]
        return [weight for weight in weights if id(weight) not in others]

    def discriminator_alone(self) -> ReplacedTokenDetector:
        """A copy of the discriminator, float32: what Hugging Face's ElectraForPreTraining is. Raises InputError without one."""
        backbone = ElectraBackbone(**self.backbone.settings(), dtype="float32")
        detector = ReplacedTokenDetector(backbone, compile=False)
        for target, source in (
            *zip(backbone.weights, self.backbone.weights, strict=True),
            *zip(detector.detection_head.weights, self._detection_head().weights, strict=True),
        ):
            target.assign(source)
        return detector

    def generator_alone(self) -> "ElectraMaskedLM":
        """A copy of the generator with embeddings of its own, float32: Hugging Face's ElectraForMaskedLM. Raises InputError without
        one."""
        self._detection_head()
        assert self.generator is not None
        settings = {**self.backbone.settings(), **self._generator_settings()}
        backbone = ElectraBackbone(**settings, dtype="float32")
        alone = type(self)(backbone, self.preprocessor, compile=False, **self._head_settings)
        for ours, theirs in self._beside(alone):
            theirs.assign(ours)
        return alone

    def take_generator(self, alone: "ElectraMaskedLM") -> list[str]:
        """Gives the generator and its head the weights of one alone, of its sizes; the embeddings stay the discriminator's. Returns
        the paths of those that are others there."""
        self._detection_head()
        shared = {id(weight) for weight in self.backbone.weights}
        others = []
        for ours, theirs in self._beside(alone):
            if id(ours) not in shared:
                ours.assign(theirs)
            elif not np.array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs)):
                others.append(str(ours.path))
        return others

    def _beside(self, alone: "ElectraMaskedLM") -> list[tuple[keras.Variable, keras.Variable]]:
        """The weights of the generator, of its head and of the embeddings that it shares, each beside that of a generator alone."""
        assert self.generator is not None
        ours = {weight.path: weight for weight in [*self.generator.weights, *self.masked_lm_head.weights]}
        named = [(path if path in ours else f"generator_{path}", theirs) for path, theirs in _by_path(alone)]
        # A generator has no pooler.
        return [(ours[path], theirs) for path, theirs in named if path in ours]

    def head_settings(self) -> Settings:
        return {**super().head_settings(), **self._generator_sizes}

    def head_layers(self) -> dict[str, keras.Layer]:
        if self.generator is None or self.detection_head is None:
            return super().head_layers()
        shared = {id(layer) for layer in self.backbone._flatten_layers()}
        own = [layer for layer in self.generator._flatten_layers(include_self=False) if id(layer) not in shared]
        generator = {f"layers/generator/{layer.path}": layer for layer in own if layer.weights}
        return {**super().head_layers(), **layers_of(self.detection_head), **generator}

    def _unused(self) -> list[keras.Variable]:
        return [*super()._unused(), *([] if self.generator is None else self.detection_variables())]


def _by_path(task: ElectraMaskedLM) -> list[tuple[str, keras.Variable]]:
    return [(str(weight.path), weight) for weight in task.weights]


@keras.saving.register_keras_serializable(package="clozekit")
class ElectraTextClassifier(FirstTokenClassifier):
    """ELECTRA with dropout, a dense layer with GELU, dropout and a dense layer on the first token.

    Inputs, outputs, the other arguments and errors: see `TextClassifier`.

    Args:
        hidden_dim: values of the first dense layer; None: the backbone's.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 3.1; the layers are those of Hugging Face's class.

    Example:

        >>> classifier = models.ElectraTextClassifier(models.ElectraBackbone(1000, embedding_dim=4, **small), num_classes=3)
        >>> classifier.output_shape
        (None, 3)
    """

    backbone_cls = ElectraBackbone
    preprocessor_cls = ElectraTextClassifierPreprocessor
    is_of_keras_hub = False
    pooled_activation = "gelu"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        preprocessor: Preprocessor | None = None,
        activation: Activation | str | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.1,
        **kwargs: Unpack[ClassifierOptions],
    ) -> None:
        super().__init__(backbone, num_classes, preprocessor, activation, hidden_dim, dropout, **kwargs)

    @classmethod
    def pooled_initializer(cls) -> keras.Initializer | str:
        return truncated_normal()


FAMILY = Family(
    "electra",
    ElectraTokenizer,
    ElectraBackbone,
    ElectraMaskedLM,
    ElectraTextClassifier,
    ElectraMaskedLMPreprocessor,
    ElectraTextClassifierPreprocessor,
    HuggingFaceNames(
        "electra",
        "electra.",
        head_dense="generator_predictions.dense",
        head_norm="generator_predictions.LayerNorm",
        head_bias="generator_lm_head.bias",
        decoder="generator_lm_head",
        classifier={"pooled_dense": "classifier.dense", "output_dense": "classifier.out_proj"},
        dense_parts={"embedding_projection": "embeddings_project"},
        pooler=None,
        settings={**SETTINGS, "num_segments": "type_vocab_size", "embedding_dim": "embedding_size"},
        defaults={
            **DEFAULTS,
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
        head_activation="gelu",
        detector="discriminator_predictions",
    ),
)
