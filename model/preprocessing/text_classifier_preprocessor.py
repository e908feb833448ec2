"""The preprocessor of text classifiers: rows of ids, labels passed through."""

from typing import TYPE_CHECKING

import keras

from clozekit.model.preprocessing.preprocessor import Preprocessed, Preprocessor

if TYPE_CHECKING:
    import tensorflow as tf


class TextClassifierPreprocessor(Preprocessor):
    """Base of the families' text-classifier preprocessors.

    Gives a dict of token_ids, padding_mask and, where the family has segments, segment_ids, each int32
    (B, sequence_length), or (sequence_length,) for one example.
    """

    kind = "text_classifier_preprocessor"

    def preprocess(self, x: object, y: object, sample_weight: object, draw: "tf.Tensor | None") -> Preprocessed:
        rows, is_batch = self.rows(x)
        inputs = self.named_inputs(rows if is_batch else {name: value[0] for name, value in rows.items()})
        return keras.utils.pack_x_y_sample_weight(inputs, y, sample_weight)
