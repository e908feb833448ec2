"""What the backbones of all families share: inputs and outputs, packed rows, settings, presets."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self, TypedDict

import keras

from clozekit.model.common import preset_doors
from clozekit.model.common.class_property import classproperty
from clozekit.model.common.dtype_policies import described_policy, policy_of_file, policy_of_layers
from clozekit.model.common.preset_sizes import check_blocks
from clozekit.model.common.tensors import DType, Outputs, Rows, Settings, Tensor
from clozekit.model.layers.prediction_head import PredictionHead
from clozekit.model.layers.transformer_layers import (
    ACTIVATIONS,
    AttentionMask,
    TransformerEncoder,
    document_positions,
    truncated_normal,
)
from clozekit.model.tasks.lora import enable_lora, load_lora_weights, save_lora_weights
from clozekit.model.tasks.recomputed_blocks import are_recomputed, through_block
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.hub.builtin_presets import BuiltinPreset
from clozekit.tokenizers.settings.constructor_arguments import check_arguments

# What a generator is given in the place of its discriminator, where it has tables of its own.
OWN: Literal["own"] = "own"


def default_name(cls: type) -> str:
    """`BertMaskedLM` -> `bert_masked_lm`. Keras counts names up, and a preset's bytes would tell how many came before."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def is_packed(inputs: object) -> bool:
    """Whether the inputs of a model say more of its rows than the functional graph takes."""
    return isinstance(inputs, dict) and any(inputs.get(name) is not None for name in ("document_ids", "positions"))


def hidden_states(output: Outputs) -> Tensor:
    """Hidden states (B, T, hidden_dim) of what a backbone gives."""
    return output["sequence_output"] if isinstance(output, dict) else output


class ModelOptions(TypedDict, total=False):
    """What every model takes besides its own arguments."""

    name: str | None
    trainable: bool


class FunctionalModel(keras.Model):
    """A functional Keras model whose layers stand in attributes before the model itself is made."""

    def __setattr__(self, name: str, value: object) -> None:
        # torch takes no layers before its Module.__init__; they are tracked when the functional model is made of them.
        if keras.backend.backend() == "torch" and "_parameters" not in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


def set_policy(model: keras.Model, policy: keras.DTypePolicy) -> None:
    """Sets a built model's policy, which its layers have already: Keras would quantize them once more."""
    own_policies(model)
    model._is_quantized = policy.quantization_mode is not None
    model.dtype_policy = policy


def own_policies(layer: keras.Layer) -> None:
    """Gives each built layer in one, and itself, its own policy where that is a map: Keras saves what has a map without its scales."""
    for one in layer._flatten_layers():
        own = one.dtype_policy
        if isinstance(own, keras.dtype_policies.DTypePolicyMap) and not isinstance(one, keras.Model):
            one._dtype_policy = own[one.path] if one.path else own.default_policy


class Backbone(FunctionalModel):
    """Base of the families' encoders: ids in, hidden states out, one row or several documents packed into it.

    As a Keras model it takes a dict of int32 (B, T) tensors, rows by tokens: token_ids, padding_mask (1 = real) and, where the
    family has segments, segment_ids. Packed rows add document_ids (1.. per packed document, 0 = padding) and, if they don't
    restart at each document of the row by themselves, positions: each document then gets what it would have had alone. It
    gives hidden states (B, T, hidden_dim) in the compute dtype, float32 unless `dtype` says otherwise.

    Args:
        settings: what a family's constructor gathered; a program calls that, with the arguments below.
        vocabulary_size: rows of the token table.
        num_layers, num_heads: blocks, and attention heads in each.
        hidden_dim, intermediate_dim: values of a hidden state, and of the layer inside a feed-forward layer.
        dropout, attention_dropout: rates from 0 to 1; attention_dropout None: as `dropout`.
        max_sequence_length: rows of the position table, the most tokens that T may be.
        activation: of the feed-forward layers, "gelu_approximate", "gelu" or another of Keras's that checkpoints have.
        layer_norm_epsilon: of the normalisations.
        dtype: a dtype or policy of Keras such as "mixed_bfloat16"; None: Keras's global one.
        embeddings: a backbone of the same class whose tables and their normalisation this one shares, as a generator shares its
            discriminator's; "own": a generator with tables of its own. Either has no pooler. None: no generator.
        name, trainable: as of every Keras model.

    Raises:
        InputError: for sizes below 1, a hidden_dim that num_heads does not divide, an unknown activation, embeddings of another
            class or width.

    Example:

        >>> backbone = models.Backbone.from_preset("tiny/preset")
        >>> backbone
        <BertBackbone name=bert_backbone, built=True>
        >>> rows = {name: np.ones((2, 5), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> packed = backbone({**rows, "document_ids": np.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]], "int32")})
        >>> tuple(packed["sequence_output"].shape)
        (2, 5, 8)
    """

    kind: ClassVar[str] = "backbone"
    # Constructor arguments, under KerasHub's names.
    setting_names: ClassVar[tuple[str, ...]] = (
        "vocabulary_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "dropout",
        "max_sequence_length",
    )
    # Constructor arguments that KerasHub has not, and what they are unless a checkpoint says otherwise.
    own_setting_defaults: ClassVar[Settings] = {}
    # Whether KerasHub has the class.
    is_of_keras_hub: ClassVar[bool] = True
    # Constructor argument -> its name in KerasHub's class, where that is another.
    keras_hub_names: ClassVar[dict[str, str]] = {}
    # Whether tasks read the pooler, where there is one.
    has_used_pooler: ClassVar[bool] = True
    # Attributes with the tables of embeddings and their normalisation, which a generator shares with its discriminator.
    embedding_parts: ClassVar[tuple[str, ...]] = ("token_embedding", "embeddings_layer_norm")
    # Whether positions are rows of a table, of which there are max_sequence_length.
    has_position_table: ClassVar[bool] = True
    # Whether a discriminator's head sees each token beside the first one of its document.
    detects_beside_first_token: ClassVar[bool] = False
    # Set where a checkpoint brought a pooler: it is handed on as it is (`has_pooler`).
    has_loaded_pooler: bool = False

    def __init__(self, settings: Settings, dtype: DType, name: str | None = None, trainable: bool = True) -> None:
        """Called by a family's constructor when its layers stand in `self`, and they are wired here."""
        dtype = policy_of_layers(dtype)
        self.attention_mask = AttentionMask(dtype=dtype, name="attention_mask")
        inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in self.input_names()}
        outputs = self.outputs_of(self.encode(**inputs))
        super().__init__(inputs=inputs, outputs=outputs, name=name or default_name(type(self)), trainable=trainable)
        set_policy(self, keras.dtype_policies.get(dtype))
        for name, value in settings.items():
            setattr(self, name, value)

    def check_settings(self, settings: Settings) -> None:
        """Raises InputError for settings that contradict one another."""
        for name, value in settings.items():
            if (name.startswith(("num_", "vocabulary")) or name.endswith(("_dim", "_length"))) and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if settings["hidden_dim"] % settings["num_heads"]:
            raise InputError(
                f"hidden_dim must be a multiple of num_heads, got {settings['hidden_dim']} and"
                f" {settings['num_heads']}; change one"
            )
        if settings["activation"] not in ACTIVATIONS:
            raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {settings['activation']!r}")

    def share_embeddings(self, other: "Backbone | Literal['own'] | None", settings: Settings) -> str:
        """Takes the embeddings of another backbone, if one is given. Returns what the names of a constructor's own layers begin with:
        the variables of both stand in one task, also where each has its own tables.

        Raises InputError for those of another class, or of a width that nothing projects onto hidden_dim.
        """
        if not isinstance(other, Backbone):
            return "" if other is None else "generator_"
        if type(other) is not type(self):
            raise InputError(f"embeddings must be those of a {type(self).__name__}, got a {type(other).__name__}'s")
        there, width = other.token_embedding.output_dim, settings.get("embedding_dim", settings["hidden_dim"])
        if width != there:
            raise InputError(
                f"a generator shares the embeddings of its discriminator, which have {there} values in this"
                f" {type(self).__name__} and are not projected: it is as wide as they are, got {width};"
                f" pass {there}, and make it smaller by fewer layers"
            )
        for name in self.embedding_parts:
            setattr(self, name, getattr(other, name))
        return "generator_"

    def make_token_embedding(self, vocabulary_size: int, width: int, dtype: DType, prefix: str) -> None:
        """The table of tokens, whose transpose the masked-LM head reads."""
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            width,
            embeddings_initializer=truncated_normal(),
            dtype=dtype,
            name=f"{prefix}token_embedding",
        )

    @classmethod
    def generator_settings(cls, settings: Settings, sizes: Settings) -> Settings:
        """The settings of a generator of some sizes (num_layers, num_heads, hidden_dim, intermediate_dim), of its discriminator's."""
        return {**settings, **sizes}

    @classmethod
    def input_names(cls) -> tuple[str, ...]:
        """Names of the tensors that the functional model takes."""
        return ("token_ids", "padding_mask")

    def encoder_layer(self, name: str, settings: Settings, dtype: DType) -> TransformerEncoder:
        """A block of the encoder with the settings of the backbone."""
        return TransformerEncoder(
            settings["intermediate_dim"],
            settings["num_heads"],
            dropout=settings["dropout"],
            attention_dropout=settings["attention_dropout"],
            activation=ACTIVATIONS[settings["activation"]],
            layer_norm_epsilon=settings["layer_norm_epsilon"],
            kernel_initializer=truncated_normal(),
            dtype=dtype,
            name=name,
        )

    def embed(
        self, token_ids: Tensor, segment_ids: Tensor | None, positions: Tensor | None, training: bool | None
    ) -> Tensor:
        """What the first encoder block reads: (B, T, hidden_dim)."""
        raise NotImplementedError

    def encoder_layers(self) -> list[TransformerEncoder]:
        """The blocks in the order in which they are applied."""
        return self.transformer_layers

    def outputs_of(self, hidden: Tensor) -> Outputs:
        """What the Keras model gives for the hidden states of the last block."""
        return hidden

    def encode(
        self,
        token_ids: Tensor,
        padding_mask: Tensor,
        segment_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Hidden states (B, T, hidden_dim) of token_ids (B, T). segment_ids None means all segment A."""
        if document_ids is not None and positions is None:
            positions = document_positions(document_ids)
        hidden = self.embed(token_ids, segment_ids, positions, training)
        mask = self.attention_mask(padding_mask, document_ids)
        for layer in self.encoder_layers():
            hidden = through_block(layer, hidden, attention_mask=mask, training=training)
        return hidden

    def call(self, inputs: Rows, training: bool | None = None, mask: Tensor | None = None) -> Outputs:
        """The outputs of a dict of int32 (B, T) tensors, packed or not; as Keras calls it."""
        # The functional model would call its blocks by itself.
        if is_packed(inputs) or are_recomputed():
            return self.outputs_of(self.encode(**self.known_inputs(inputs), training=training))
        return super().call(inputs, training=training, mask=mask)

    def prediction_head(self) -> PredictionHead | None:
        """A new layer that stands between hidden states and the last layer of a head; None: the family has none."""
        return None

    def known_inputs(self, batch: Rows) -> dict[str, Tensor]:
        """Those of a batch's tensors that `encode` takes."""
        names = (*self.input_names(), "document_ids", "positions")
        return {name: batch[name] for name in names if batch.get(name) is not None}

    def default_lora_layer_names(self) -> list[str]:
        """The layers that `enable_lora` adapts unless it is told others."""
        return ["query", "value"]

    def enable_lora(self, rank: int, target_layer_names: Sequence[str] | None = None) -> None:
        """Freezes the backbone but for low-rank factors of its attention's queries and values (Hu et al. 2021, LoRA).

        rank: of the factors, 4 or 8 as a rule. target_layer_names: names of layers, None: `default_lora_layer_names()`.
        Compile a task again afterwards. Whatever is saved but by `save_lora_weights` has the factors added to the kernels.
        """
        enable_lora(self, rank, self.default_lora_layer_names() if target_layer_names is None else target_layer_names)

    def save_lora_weights(self, filepath: str | Path) -> None:
        """Writes the factors alone into a file `*.lora.h5`, which KerasHub loads too."""
        save_lora_weights(self, filepath)

    def load_lora_weights(self, filepath: str | Path) -> None:
        """Takes the factors of a file, KerasHub's too; LoRA is enabled with the file's rank where it is not."""
        load_lora_weights(self, filepath)

    def settings(self) -> Settings:
        """Constructor arguments besides name, trainable and dtype."""
        return {name: getattr(self, name) for name in (*self.setting_names, *self.own_setting_defaults)}

    @classmethod
    def setting_defaults(cls) -> Settings:
        """Constructor arguments that a description of the backbone may leave out."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        names = {*cls.setting_names, *cls.own_setting_defaults}
        return {one.name: one.default for one in parameters if one.name in names and one.default is not one.empty}

    def get_config(self) -> Settings:
        dtype = described_policy(self.dtype_policy, self._flatten_layers(include_self=False))
        return {"name": self.name, "trainable": self.trainable, "dtype": dtype, **self.settings()}

    @classmethod
    def from_config(cls, config: Settings) -> Self:
        """The backbone of a `.keras` file; its settings are checked as those of a preset are."""
        config = dict(config)
        settings = {name: value for name, value in config.items() if name not in ("name", "trainable", "dtype")}
        check_arguments(cls, settings, f"the description of a {cls.__name__}")
        check_blocks(settings, f"the description of a {cls.__name__}")
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = policy_of_file(config["dtype"], f"the description of a {cls.__name__}")
        return cls(**config)

    @classproperty
    def presets(cls) -> dict[str, BuiltinPreset]:  # noqa: N805
        """The built-in presets of the class by name."""
        found: dict[str, BuiltinPreset] = preset_doors.presets().builtin_presets_of(cls)
        return found

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **kwargs: object) -> Self:
        """The backbone of a preset (a built-in name, a handle or a directory). See `MaskedLM.from_preset`.

        kwargs: `dtype`, `name`, `trainable`, and constructor arguments in the place of the preset's (`dropout=0.5`).
        """
        return preset_doors.presets().load_backbone(cls, preset, load_weights, kwargs)

    def save_to_preset(self, preset_dir: str, max_shard_size: float = 10) -> None:
        """Writes the backbone alone as a preset; max_shard_size as of `Task.save_to_preset`."""
        preset_doors.presets().save_preset(preset_dir, backbone=self, max_shard_size=max_shard_size)
