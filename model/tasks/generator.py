"""A discriminator with its generator in one task: a second model with the same embeddings predicts the masked tokens."""

from collections.abc import Callable, Sequence
from typing import Self

import keras
import numpy as np
from keras import ops

from clozekit.model.common.tensors import Rows, Settings, Tensor
from clozekit.model.layers.detection_head import DetectionHead
from clozekit.model.layers.masked_lm_head import MaskedLMHead
from clozekit.model.tasks.backbone import OWN, Backbone, own_policies
from clozekit.model.tasks.replaced_token_detector import ReplacedTokenDetector, detection_head_of, layers_of
from clozekit.model.tasks.task import Task, TaskOptions
from clozekit.tokenizers.common.errors import InputError

# Whether a generator has tables of its own, as a task takes it.
DISENTANGLED = "disentangled_embeddings"
# The arguments of a task that say the sizes of a generator, and which of a backbone's they are.
GENERATOR_SIZES = {
    "num_generator_layers": "num_layers",
    "num_generator_heads": "num_heads",
    "generator_hidden_dim": "hidden_dim",
    "generator_intermediate_dim": "intermediate_dim",
}


class MaskedLMOptions(TaskOptions, total=False):
    """What every masked LM takes besides its own arguments."""

    num_generator_layers: int | None
    num_generator_heads: int | None
    generator_hidden_dim: int | None
    generator_intermediate_dim: int | None
    disentangled_embeddings: bool


class TaskWithGenerator(Task):
    """Base of the masked LMs: what they are besides where they are given the sizes of a generator.

    The backbone of such a task is the discriminator, and its masked-LM head is the generator's (Clark et al. 2020, arXiv 2003.10555).
    """

    masked_lm_head: MaskedLMHead
    # What predicts the masked tokens in the backbone's place, and the discriminator's head; None: the backbone does.
    generator: Backbone | None = None
    is_disentangled: bool = False
    detection_head: DetectionHead | None = None

    def make_generator(self, backbone: Backbone, sizes: Sequence[int | None], is_disentangled: bool) -> None:
        """Called by the constructor before the functional model is made; sizes: in the order of GENERATOR_SIZES, all or none.

        Tables of its own begin as the backbone's.
        """
        if None in sizes and (is_disentangled or set(sizes) != {None}):
            raise InputError(f"a generator needs all of {', '.join(GENERATOR_SIZES)}, got {sizes}; give all, or none")
        self.is_disentangled = is_disentangled
        self._generator_sizes = dict(zip(GENERATOR_SIZES, sizes, strict=True)) if None not in sizes else {}
        if self._generator_sizes:
            of_backbone = {ours: self._generator_sizes[name] for name, ours in GENERATOR_SIZES.items()}
            settings = backbone.generator_settings(backbone.settings(), of_backbone)
            make_backbone: Callable[..., Backbone] = type(backbone)
            self.generator = make_backbone(
                **settings,
                dtype=backbone.dtype_policy,
                embeddings=OWN if is_disentangled else backbone,
                name="generator",
            )
            self.begin_embeddings(backbone)

    def make_detection_head(self) -> None:
        """Called by the constructor at its end."""
        if self.generator is not None:
            self.detection_head = detection_head_of(self.backbone)
            self.detection_head.build((None, None, self.backbone.hidden_dim))
            own_policies(self.detection_head)

    @property
    def goes_to_keras_hub(self) -> bool:
        return super().goes_to_keras_hub and self.generator is None

    def _embeddings_beside(self, backbone: Backbone) -> list[tuple[keras.Layer, keras.Layer]]:
        """Each layer of the generator's embeddings beside the backbone's."""
        generator = self.generator
        return [(getattr(generator, part), getattr(backbone, part)) for part in backbone.embedding_parts]

    def begin_embeddings(self, backbone: Backbone) -> None:
        """Gives embeddings of its own the values of the discriminator's, where there is a generator that has some."""
        for own, there in self._embeddings_beside(backbone) if self.is_disentangled else []:
            own.set_weights(there.get_weights())

    def differing_tables(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """Where the embeddings are disentangled: each table of the discriminator's, and the generator's that it is a sum with.

        What is trained for the discriminator is the difference: its table is the generator's, through which no gradient of the
        detection goes, plus a table that begins at 0 (He et al. 2021, arXiv 2111.09543, section 3, and `rtd_task.py` of its code).
        Norms are each one's own.
        """
        if not self.is_disentangled:
            return []
        layers = self._embeddings_beside(self.backbone)
        tables = [both for both in layers if not isinstance(both[0], keras.layers.LayerNormalization)]
        pairs = [pair for own, there in tables for pair in zip(there.weights, own.weights, strict=True)]
        # A layer with several tables stands beside each of them.
        return list({id(table): (table, own) for table, own in pairs}.values())

    def token_tables(self) -> list[keras.Variable]:
        """Those with a row for each piece: the backbone's, and the generator's where it has one of its own."""
        return _distinct([one.token_embedding.embeddings for one in self._backbones()])

    def position_tables(self) -> list[keras.Variable]:
        """Those with a row for each position, likewise; none in families without."""
        having = [one for one in self._backbones() if one.has_position_table]
        return _distinct([one.position_embedding.position_embeddings for one in having])

    def _backbones(self) -> list[Backbone]:
        return [self.backbone] if self.generator is None else [self.backbone, self.generator]

    def masked_backbone(self, backbone: Backbone) -> Backbone:
        """Whose hidden states the masked tokens are predicted from: the backbone's of the task, unless it has a generator."""
        return backbone if self.generator is None else self.generator

    def detection_logits(self, batch: Rows, training: bool | None = False) -> Tensor:
        """Logits (B, T) of the tokens of a batch, packed or not: above 0 where one was rather replaced."""
        _, head = self._both()
        hidden = self.backbone.encode(**self.backbone.known_inputs(batch), training=training)
        return head(hidden, document_ids=batch.get("document_ids"))

    def _both(self) -> tuple[Backbone, DetectionHead]:
        """The generator, and the discriminator's head."""
        if self.generator is None or self.detection_head is None:
            raise InputError(
                f"this {type(self).__name__} has no discriminator; make it with {', '.join(GENERATOR_SIZES)}"
            )
        return self.generator, self.detection_head

    def detection_variables(self) -> list[keras.Variable]:
        """What the detection alone trains: the discriminator's own layers and its head."""
        generator, head = self._both()
        pooler = self.backbone.pooled_dense.weights if hasattr(self.backbone, "pooled_dense") else []
        others = {id(weight) for weight in [*generator.weights, *pooler]}
        weights = [*self.backbone.trainable_weights, *head.trainable_weights]
        return [weight for weight in weights if id(weight) not in others]

    def discriminator_alone(self) -> ReplacedTokenDetector:
        """A copy of the discriminator, float32. Raises InputError without one."""
        _, head = self._both()
        backbone = type(self.backbone)(**self.backbone.settings(), dtype="float32")
        backbone.has_loaded_pooler = self.backbone.has_loaded_pooler
        detector = ReplacedTokenDetector(backbone, compile=False)
        for target, source in (
            *zip(backbone.weights, self.backbone.weights, strict=True),
            *zip(detector.detection_head.weights, head.weights, strict=True),
        ):
            target.assign(source)
        return detector

    def generator_alone(self) -> Self:
        """A copy of the generator with embeddings of its own, float32: a masked LM. Raises InputError without one."""
        generator, _ = self._both()
        backbone = type(generator)(**generator.settings(), dtype="float32")
        of_generator = (*GENERATOR_SIZES, DISENTANGLED)
        own = {name: value for name, value in self.head_settings().items() if name not in of_generator}
        alone = type(self)(backbone, self.preprocessor, compile=False, **own)
        for ours, theirs in self._beside(alone):
            theirs.assign(ours)
        return alone

    def take_generator(self, alone: "TaskWithGenerator") -> list[str]:
        """Gives the generator and its head the weights of one alone, of its sizes; embeddings that it shares stay the discriminator's.
        Returns the paths of those that are others there."""
        shared = {id(weight) for weight in self.backbone.weights}
        others = []
        for ours, theirs in self._beside(alone):
            if id(ours) not in shared:
                ours.assign(theirs)
            elif not np.array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs)):
                others.append(str(ours.path))
        return others

    def _beside(self, alone: "TaskWithGenerator") -> list[tuple[keras.Variable, keras.Variable]]:
        """The weights of the generator, of its head and of its embeddings, each beside that of a generator alone."""
        generator, _ = self._both()
        ours = {str(weight.path): weight for weight in [*generator.weights, *self.masked_lm_head.weights]}
        named = [(str(weight.path), weight) for weight in alone.weights]
        named = [(path if path in ours else f"generator_{path}", theirs) for path, theirs in named]
        # A generator has no pooler.
        return [(ours[path], theirs) for path, theirs in named if path in ours]

    def head_settings(self) -> Settings:
        """Constructor arguments of the generator."""
        return {**self._generator_sizes, **({DISENTANGLED: True} if self.is_disentangled else {})}

    def head_layers(self) -> dict[str, keras.Layer]:
        """The layers of the generator and of the discriminator's head by their place in `task.weights.h5`."""
        if self.generator is None or self.detection_head is None:
            return {}
        shared = {id(layer) for layer in self.backbone._flatten_layers()}
        own = [layer for layer in self.generator._flatten_layers(include_self=False) if id(layer) not in shared]
        generator = {f"layers/generator/{layer.path}": layer for layer in own if layer.weights}
        return {**layers_of(self.detection_head), **generator}

    def _unused(self) -> list[keras.Variable]:
        return [*super()._unused(), *([] if self.generator is None else self.detection_variables())]


def _distinct(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())
