"""The masked-LM task: a backbone and a head, as one Keras model and as the plain functions that the trainer calls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Unpack, overload

import keras
from keras import ops

from clozekit.model.common.tensors import Outputs, Rows, Settings, Tensor
from clozekit.model.layers.masked_lm_head import MAX_LOGITS, HeadBiases, MaskedLMHead
from clozekit.model.layers.pair_head import PairHead
from clozekit.model.layers.transformer_layers import ACTIVATIONS, truncated_normal
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.backbone import Backbone, hidden_states, own_policies
from clozekit.model.tasks.generator import TaskWithGenerator
from clozekit.model.tasks.pooler import has_pooler
from clozekit.model.tasks.task import TaskOptions
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.model.tasks.fill_mask import Guess


class MaskedOutputs(NamedTuple):
    """What a masked LM makes of a batch: its head, hidden states (B, T, H), and float32 logits (B, M, V) of the masked positions;
    None where they would not fit (MAX_LOGITS)."""

    head: MaskedLMHead
    hidden: Tensor
    logits: Tensor | None = None

    def sums(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """See `MaskedLM.masked_sums`."""
        ids, weights, logits = batch["mask_ids"], batch["mask_weights"], self.logits
        if logits is None:
            return self.head.loss_and_correct(self.hidden, batch["mask_positions"], ids, weights)
        losses = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
        right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(ids, "int32")), "float32")
        return ops.sum(losses * weights), ops.sum(right * weights)


class MaskedLM(TaskWithGenerator):
    """Base of the families' masked-LM tasks: predicts the tokens that were masked.

    As a Keras model it takes the backbone's inputs plus mask_positions, int32 (B, M), and gives logits
    (B, M, vocabulary_size) of those positions, float32 unless the backbone's dtype is another. The head is a dense layer, a
    normalisation, and the token embedding transposed.

    Args:
        backbone, preprocessor: of the task's family; preprocessor None: for a model of ids.
        head_activation, head_layer_norm_epsilon: for checkpoints whose head was trained with other ones than KerasHub's.
        pair_head: whether there is a second head, of sentence pairs, as `objective: pairs` trains it; see `pair_logits`. `fit`
            leaves it as it is.
        pair_dropout: the rate before it, 0 to 1.
        num_generator_layers, num_generator_heads, generator_hidden_dim, generator_intermediate_dim: sizes of a generator, all or
            none. With them, as `objective: replaced` trains it, the backbone is a discriminator, masked tokens are predicted by a
            generator that shares its embeddings, and `detection_logits` says of each token whether it was replaced; `fit` trains
            the generator alone. Where embeddings are not projected (in all families but ALBERT and ELECTRA) generator_hidden_dim
            is the backbone's hidden_dim.
        disentangled_embeddings: whether a generator has embeddings of its own, which `objective: replaced` adds to the
            discriminator's as they change (`differing_tables`); False: the two share theirs.

    Raises:
        InputError: for parts of another family, an activation that is none of Keras's that checkpoints have, a head of pairs
            for a family without a pooler or beside a generator, some sizes of a generator without the others, or of another width.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1, "Masked LM".

    Example:

        >>> masked_lm = models.MaskedLM.from_preset("tiny/preset")
        >>> [guesses] = masked_lm.fill_mask("The quick [MASK] jumped.", top_k=3)
        >>> len(guesses)
        3
        >>> masked_lm.save_to_preset("tiny/copy")
        >>> models.MaskedLM.from_preset("tiny/copy").fill_mask("The quick [MASK] jumped.", top_k=3) == [guesses]
        True
    """

    kind = "masked_lm"
    uses_pooler = False
    head_defaults: ClassVar[Settings]

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor | None = None,
        head_activation: str | None = None,
        head_layer_norm_epsilon: float | None = None,
        pair_head: bool = False,
        pair_dropout: float = 0.0,
        num_generator_layers: int | None = None,
        num_generator_heads: int | None = None,
        generator_hidden_dim: int | None = None,
        generator_intermediate_dim: int | None = None,
        disentangled_embeddings: bool = False,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        self.check_parts(backbone, preprocessor)
        given = {"head_activation": head_activation, "head_layer_norm_epsilon": head_layer_norm_epsilon}
        self._head_settings = {**self.head_defaults, **{k: v for k, v in given.items() if v is not None}}
        activation = self._head_settings["head_activation"]
        if activation not in ACTIVATIONS:
            raise InputError(f"head_activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if pair_head and not (backbone.has_used_pooler and hasattr(backbone, "pooled_dense")):
            raise InputError(
                f"a head of pairs reads a pooler, a {type(backbone).__name__} has none; leave pair_head out"
            )
        if pair_head and num_generator_layers is not None:
            raise InputError(
                "a head of pairs reads the model that predicts the masked tokens, which beside a generator is no backbone of other"
                " tasks; leave pair_head or the generator out"
            )
        self.make_generator(
            backbone,
            (num_generator_layers, num_generator_heads, generator_hidden_dim, generator_intermediate_dim),
            disentangled_embeddings,
        )
        read = self.masked_backbone(backbone)
        self.masked_lm_head = MaskedLMHead(
            token_embedding=read.token_embedding,
            intermediate_activation=ACTIVATIONS[activation],
            layer_norm_epsilon=self._head_settings["head_layer_norm_epsilon"],
            kernel_initializer=truncated_normal(),
            dtype=backbone.dtype_policy,
            name="mlm_head",
            **self.head_biases(backbone),
        )
        inputs = {**backbone.input, "mask_positions": keras.Input(shape=(None,), dtype="int32", name="mask_positions")}
        outputs = self.masked_lm_head(hidden_states(read(backbone.input)), inputs["mask_positions"])
        super().__init__(backbone, preprocessor, inputs, outputs, **kwargs)
        self.pair_head = None
        if pair_head:
            self.pair_head = PairHead(pair_dropout, dtype=backbone.dtype_policy, name="pair_head")
            self.pair_head.build((None, None, backbone.hidden_dim))
            own_policies(self.pair_head)
        self.make_detection_head()

    @classmethod
    def head_biases(cls, backbone: Backbone) -> HeadBiases:
        """Which parts of the head have biases; all unless it is said."""
        return {}

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str = "auto",
        *,
        weighted_metrics: Sequence[keras.metrics.Metric | str] | str | None = "auto",
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam at 5e-5, cross-entropy per masked token and accuracy.

        The loss is the mean over the masked tokens, whatever the number of slots (KerasHub divides by the slots).
        """
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        if isinstance(weighted_metrics, str) and weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)

    def encode(self, batch: Rows, training: bool | None = False) -> Tensor:
        """Hidden states (B, T, hidden_dim) of a batch, packed or not."""
        read = self.masked_backbone(self.backbone)
        return read.encode(**read.known_inputs(batch), training=training)

    def masked_logits(self, batch: Rows, training: bool | None = False) -> Tensor:
        """Logits (B, M, vocabulary_size) for a batch of the backbone's inputs and mask_positions."""
        return self.masked_lm_head(self.encode(batch, training), batch["mask_positions"])

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        return self.masked_logits(inputs, training)

    def masked_sums(self, batch: Rows, training: bool | None = False) -> tuple[Tensor, Tensor]:
        """Summed loss (nats) and summed right guesses of a batch with mask_ids and mask_weights (B, M); float32.

        Where the logits of the batch would not fit (MAX_LOGITS), they are never all held at once.
        """
        return self.masked_outputs(batch, training).sums(batch)

    def masked_outputs(self, batch: Rows, training: bool | None = False) -> MaskedOutputs:
        """What the sums of a batch with mask_positions (B, M) are made of."""
        hidden, positions = self.encode(batch, training), batch["mask_positions"]
        shape = positions.shape
        if None not in shape and shape[0] * shape[1] * self.backbone.vocabulary_size > MAX_LOGITS:
            return MaskedOutputs(self.masked_lm_head, hidden)
        return MaskedOutputs(self.masked_lm_head, hidden, ops.cast(self.masked_lm_head(hidden, positions), "float32"))

    @property
    def keeps_pooler(self) -> bool:
        return self.pair_head is not None or has_pooler(self.backbone)

    def pair_variables(self) -> list[keras.Variable]:
        """What the pairs alone are predicted by: the pooler and the head of pairs."""
        return [*self.backbone.pooled_dense.weights, *self._pair_head().weights]

    def pair_logits(self, batch: Rows, training: bool | None = False) -> Tensor:
        """Logits (B, T, 2) of the sentence pairs of a batch, packed or not: those of a pair stand at its first token.

        The first is of pairs as they were written, the second of those that `prepare --pairs` made otherwise.
        """
        return self.pair_logits_of(self.encode(batch, training), training)

    def pair_logits_of(self, hidden: Tensor, training: bool | None = False) -> Tensor:
        """Those of hidden states (B, T, hidden_dim)."""
        return self._pair_head()(self.backbone.pooled_dense(hidden), training=training)

    def _pair_head(self) -> PairHead:
        if self.pair_head is None:
            raise InputError(f"this {type(self).__name__} has no head of pairs; make it with pair_head=True")
        return self.pair_head

    @overload
    def fill_mask(self, texts: str, top_k: int = 5) -> "list[list[Guess]]": ...
    @overload
    def fill_mask(self, texts: list[str], top_k: int = 5) -> "list[list[list[Guess]]]": ...
    def fill_mask(self, texts: str | list[str], top_k: int = 5) -> "list[list[Guess]] | list[list[list[Guess]]]":
        """The likeliest pieces for each mask token of a text, or of several; see `clozekit.model.tasks.fill_mask`."""
        from clozekit.model.tasks.fill_mask import fill_masks

        filled = fill_masks(self, [texts] if isinstance(texts, str) else texts, top_k)
        return filled[0] if isinstance(texts, str) else filled

    @overload
    def pseudo_perplexity(self, texts: str) -> float: ...
    @overload
    def pseudo_perplexity(self, texts: list[str]) -> list[float]: ...
    def pseudo_perplexity(self, texts: str | list[str]) -> float | list[float]:
        """How surprised the model is by each text; see `clozekit.model.tasks.pseudo_perplexity`."""
        from clozekit.model.tasks.pseudo_perplexity import pseudo_perplexities

        values = pseudo_perplexities(self, [texts] if isinstance(texts, str) else texts)
        return values[0] if isinstance(texts, str) else values

    def head_settings(self) -> Settings:
        """Constructor arguments that KerasHub has not."""
        pairs = {} if self.pair_head is None else {"pair_head": True, "pair_dropout": self.pair_head.dropout}
        return {**self._head_settings, **pairs, **super().head_settings()}

    def head_layers(self) -> dict[str, keras.Layer]:
        """The head's layers by their place in KerasHub's `task.weights.h5`."""
        parts = self.masked_lm_head.parts()
        # KerasHub passes over what it does not know.
        pairs = {} if self.pair_head is None else {"layers/pair_head/dense": self.pair_head.dense}
        return {
            "layers/masked_lm_head/_intermediate_dense": parts.dense,
            "layers/masked_lm_head/_intermediate_layer_norm": parts.norm,
            "layers/masked_lm_head": self.masked_lm_head,
            **pairs,
            **super().head_layers(),
        }

    def get_config(self) -> Settings:
        return {**super().get_config(), **self.head_settings()}

    def _unused(self) -> list[keras.Variable]:
        return [*super()._unused(), *([] if self.pair_head is None else self.pair_head.trainable_weights)]
