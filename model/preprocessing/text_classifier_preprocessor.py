"""The preprocessor of text classifiers: rows of ids, labels passed through."""

from typing import TYPE_CHECKING

import keras

from clozekit.model.preprocessing.preprocessor import Preprocessed, Preprocessor

if TYPE_CHECKING:
    import tensorflow as tf


class TextClassifierPreprocessor(Preprocessor):
    """Base of the families' text-classifier preprocessors: rows of ids, labels passed through.

    Gives a dict of token_ids, padding_mask and, where the family has segments, segment_ids, each int32
    (B, sequence_length), or (sequence_length,) for one example; (x, y) or (x, y, sample_weight) when it is given those.
    Arguments and errors: see `Preprocessor`.

    Example:

        >>> preprocessor = models.TextClassifierPreprocessor.from_preset("tiny/preset", sequence_length=8)
        >>> x, y = preprocessor(["A dog.", "The lazy fox."], y=[0, 1])
        >>> x["token_ids"].numpy().tolist()
        [[2, 12, 14, 5, 3, 0, 0, 0], [2, 6, 13, 9, 5, 3, 0, 0]]
    """

    kind = "text_classifier_preprocessor"

    def preprocess(self, x: object, y: object, sample_weight: object, draw: "tf.Tensor | None") -> Preprocessed:
        rows, is_batch = self.rows(x)
        inputs = self.named_inputs(rows if is_batch else {name: value[0] for name, value in rows.items()})
        return keras.utils.pack_x_y_sample_weight(inputs, y, sample_weight)
