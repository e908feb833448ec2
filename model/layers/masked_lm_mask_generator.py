"""KerasHub's layer that masks rows of ids, over the rule of `mask_rows`."""

from collections.abc import Sequence
from typing import Any

import keras

from clozekit.model.common.tensors import Settings
from clozekit.model.masking.masking_rule import MaskingRule, num_predictions
from clozekit.tokenizers.common.errors import InputError


@keras.saving.register_keras_serializable(package="clozekit")
class MaskedLMMaskGenerator(keras.layers.Layer):
    """Masks rows of ids for a masked LM; the arguments and what it gives are KerasHub's.

    Takes ids (T,), (B, T) or rows of different lengths, in `tf.data` too. Gives a dict: token_ids as they came, masked, and
    mask_positions, mask_ids (int32) and mask_weights (float32), (B, mask_selection_length), or as long as there are masks
    where that is None. Exactly the share `mask_selection_rate` of the ids that may be masked is, rounded up, also outside of
    `tf.data`, where KerasHub draws for each id apart.

    Args:
        vocabulary_size: ids that a random replacement is drawn from.
        mask_selection_rate, mask_token_rate, random_token_rate: as of `MaskedLMPreprocessor`.
        mask_token_id: what most of the selected ids become.
        mask_selection_length: slots of a row, the most that is selected; None: as many as there are masks.
        unselectable_token_ids: ids that are never selected.

    Raises:
        InputError: for a mask_token_id outside of the vocabulary, or rates outside 0 to 1.

    Example:

        >>> from clozekit.model.layers import MaskedLMMaskGenerator
        >>> masker = MaskedLMMaskGenerator(16, 0.5, mask_token_id=4, mask_selection_length=3, mask_token_rate=1.0, random_token_rate=0.0)
        >>> masked = masker(np.array([[6, 7, 8, 9, 0, 0]]))
        >>> masked["mask_weights"].numpy().tolist(), int(np.sum(masked["token_ids"] == 4))
        ([[1.0, 1.0, 0.0]], 2)
    """

    def __init__(
        self,
        vocabulary_size: int,
        mask_selection_rate: float,
        mask_token_id: int,
        mask_selection_length: int | None = None,
        unselectable_token_ids: Sequence[int] = (0,),
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Strings of a graph, lists and ragged rows come as they are.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        if not 0 <= mask_token_id < vocabulary_size:
            raise InputError(
                f"Mask token id should be in range [0, vocabulary_size - 1], got {mask_token_id} of {vocabulary_size}"
            )
        self.vocabulary_size = vocabulary_size
        self.mask_selection_rate = mask_selection_rate
        self.mask_token_id = mask_token_id
        self.mask_selection_length = mask_selection_length
        self.unselectable_token_ids = list(unselectable_token_ids)
        self.mask_token_rate = mask_token_rate
        self.random_token_rate = random_token_rate
        self._rule(8)
        self.built = True

    def _rule(self, length: int) -> MaskingRule:
        """The rule for rows of `length` ids; one id more than there are fills rows up."""
        slots = self.mask_selection_length or num_predictions(length, self.mask_selection_rate)
        unselectable = {token_id for token_id in self.unselectable_token_ids if 0 <= token_id < self.vocabulary_size}
        return MaskingRule(
            self.mask_token_id,
            self.vocabulary_size + 1,
            (self.vocabulary_size,),
            self.mask_selection_rate,
            self.mask_token_rate,
            self.random_token_rate,
            unselectable_token_ids=(*sorted(unselectable), self.vocabulary_size),
            num_slots=slots,
        )

    def call(self, inputs: Any) -> dict[str, Any]:
        """Masks rows of ids, each time others."""
        import tensorflow as tf

        from clozekit.model.masking.mask_rows import mask_rows

        rows = _rows_of(inputs)
        is_ragged = isinstance(rows, tf.RaggedTensor)
        is_batch = rows.shape.rank == 2
        dense = rows.to_tensor(self.vocabulary_size) if is_ragged else rows
        dense = dense if is_batch else dense[None]
        length = dense.shape[1]
        if length is None:
            raise InputError("rows in a graph must be of one known length to be masked, these are not; pad them first")
        draw = tf.random.uniform([], 0, 2**31, tf.int64)
        masked = mask_rows(dense, tf.range(tf.shape(dense)[0], dtype=tf.int64), draw, self._rule(length))
        del masked["mask_overflow"]
        slots = {name: masked[name] for name in ("mask_positions", "mask_ids", "mask_weights")}
        if self.mask_selection_length == 0:
            masked["token_ids"] = dense
            slots = {name: part[:, :0] for name, part in slots.items()}
        elif self.mask_selection_length is None:
            used = masked["mask_weights"] > 0
            slots = {name: tf.ragged.boolean_mask(part, used) for name, part in slots.items()}
        token_ids = masked["token_ids"]
        if is_ragged:
            token_ids = tf.RaggedTensor.from_tensor(token_ids, lengths=rows.row_lengths())
        outputs = {"token_ids": token_ids, **slots}
        if not is_batch:
            outputs = {name: part[0] for name, part in outputs.items()}
        return {name: _as_given(part) for name, part in outputs.items()} if tf.executing_eagerly() else outputs

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> None:
        """There is none: rows are masked before a model."""
        raise NotImplementedError("a MaskedLMMaskGenerator works on rows of ids, not inside a model")

    def get_config(self) -> Settings:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "mask_selection_rate": self.mask_selection_rate,
            "mask_selection_length": self.mask_selection_length,
            "unselectable_token_ids": self.unselectable_token_ids,
            "mask_token_id": self.mask_token_id,
            "mask_token_rate": self.mask_token_rate,
            "random_token_rate": self.random_token_rate,
        }


def _rows_of(inputs: Any) -> Any:
    """int32 ids, ragged where the rows are of different lengths."""
    import tensorflow as tf

    if isinstance(inputs, tf.RaggedTensor):
        return tf.cast(inputs, tf.int32)
    has_rows = isinstance(inputs, list | tuple) and len(inputs) > 0 and hasattr(inputs[0], "__len__")
    if has_rows and len({len(row) for row in inputs}) > 1:
        return tf.ragged.constant([list(row) for row in inputs], tf.int32, ragged_rank=1)
    if not isinstance(inputs, tf.Tensor) and hasattr(inputs, "shape"):
        inputs = keras.ops.convert_to_numpy(inputs)
    return tf.cast(tf.convert_to_tensor(inputs), tf.int32)


def _as_given(part: Any) -> Any:
    """A tensor of Keras's backend, or lists where rows are of different lengths."""
    if hasattr(part, "to_list"):
        return part.to_list()
    return part if keras.backend.backend() == "tensorflow" else keras.ops.convert_to_tensor(part.numpy())
