"""The masked-LM task: a backbone and a head, as one Keras model and as the plain function that the trainer calls."""

from typing import Any, ClassVar

import keras


class MaskedLM(keras.Model):
    """Base of the families' masked-LM tasks.

    As a Keras model it takes the backbone's inputs plus mask_positions (int32, (B, M)) and gives logits
    (B, M, vocabulary_size) of those positions.
    """

    backbone_cls: ClassVar[type]

    def __init__(self, backbone: Any, masked_lm_head: Any, **kwargs: Any) -> None:
        self.backbone = backbone
        self.masked_lm_head = masked_lm_head
        inputs = {**backbone.input, "mask_positions": keras.Input(shape=(None,), dtype="int32", name="mask_positions")}
        output = backbone(backbone.input)
        hidden = output["sequence_output"] if isinstance(output, dict) else output
        super().__init__(inputs=inputs, outputs=masked_lm_head(hidden, inputs["mask_positions"]), **kwargs)

    def masked_logits(self, batch: dict[str, Any], training: bool = False) -> Any:
        """Logits (B, M, vocabulary_size) for a batch of token_ids, padding_mask, mask_positions and, for packed rows,
        document_ids and positions."""
        hidden = self.backbone.encode(
            batch["token_ids"],
            batch["padding_mask"],
            document_ids=batch.get("document_ids"),
            positions=batch.get("positions"),
            training=training,
        )
        return self.masked_lm_head(hidden, batch["mask_positions"])
