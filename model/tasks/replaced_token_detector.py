"""The replaced-token task: for every token of a row, whether it is another than the one that was there."""

from typing import Unpack

import keras

from clozekit.model.common.tensors import Outputs, Rows, Settings
from clozekit.model.layers.detection_head import DetectionHead
from clozekit.model.layers.transformer_layers import ACTIVATIONS
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.any_family import AnyFamilyTask
from clozekit.model.tasks.backbone import Backbone, hidden_states
from clozekit.model.tasks.task import TaskOptions


@keras.saving.register_keras_serializable(package="clozekit")
class ReplacedTokenDetector(AnyFamilyTask):
    """A backbone, as a rule ELECTRA's or DeBERTa V3's, with the head of a discriminator on each token's hidden state.

    As a Keras model it takes the backbone's inputs, int32 (B, T), and gives logits (B, T), above 0 where a token was rather
    replaced. Labels of `fit` are 0 or 1, (B, T). `objective: replaced` trains it with a generator, in one masked LM of the family.

    Args:
        backbone, preprocessor: of one family, the preprocessor a text classifier's; None: for a model of ids.

    Raises:
        InputError: for parts of two families.

    Source: Clark et al. 2020 (arXiv 2003.10555), section 2; of DeBERTa V3 the head is that of its authors' code (`DetectionHead`).

    Example:

        >>> backbone = models.ElectraBackbone(1000, embedding_dim=4, **small)
        >>> rows = {name: np.ones((2, 7), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
        >>> tuple(models.ReplacedTokenDetector(backbone)(rows).shape)
        (2, 7)
    """

    kind = "replaced_token_detector"

    def __init__(
        self, backbone: Backbone, preprocessor: Preprocessor | None = None, **kwargs: Unpack[TaskOptions]
    ) -> None:
        self.check_parts(backbone, preprocessor)
        self.detection_head = detection_head_of(backbone)
        logits = self.detection_head(hidden_states(backbone(backbone.input)))
        super().__init__(backbone, preprocessor, backbone.input, logits, **kwargs)

    def call_packed(self, inputs: Rows, training: bool | None) -> Outputs:
        hidden = self.backbone.encode(**self.backbone.known_inputs(inputs), training=training)
        return self.detection_head(hidden, document_ids=inputs.get("document_ids"))

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "auto",
        loss: keras.losses.Loss | str = "auto",
        **kwargs: object,
    ) -> None:
        """`keras.Model.compile`; "auto" is Adam, and binary cross-entropy."""
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.BinaryCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def head_config(self) -> Settings:
        return {}

    def head_layers(self) -> dict[str, keras.Layer]:
        return layers_of(self.detection_head)


def detection_head_of(backbone: Backbone) -> DetectionHead:
    """A new head, with the activation and the epsilon of the backbone that it reads."""
    epsilon = backbone.layer_norm_epsilon if backbone.detects_beside_first_token else None
    activation = ACTIVATIONS[backbone.activation]
    return DetectionHead(activation, epsilon, dtype=backbone.dtype_policy, name="detection_head")


def layers_of(head: DetectionHead) -> dict[str, keras.Layer]:
    """The layers with weights by their place in `task.weights.h5`."""
    norm = {} if head.layer_norm is None else {"layers/detection_head/layer_norm": head.layer_norm}
    return {
        **norm,
        "layers/detection_head/dense": head.dense,
        "layers/detection_head/output_dense": head.output_dense,
    }
