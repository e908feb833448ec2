"""A task as a TensorFlow SavedModel: ids in, and raw strings where the tokenizer can be part of a graph.

SentencePiece can (ALBERT, XLM-RoBERTa): tensorflow-text has its library as an operation, which whoever loads the model
must import. The other tokenizers run in Python, outside of any graph.
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_text as tf_text

from clozekit.model.preprocessing.pack_segments import SegmentPacking, pack_segments
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.sentence_piece import SentencePieceTokenizer
from clozekit.tokenizers.tokenizer import Tokenizer

IDS_SIGNATURE, TEXTS_SIGNATURE = "serving_default", "texts"
# What Python calls white space, in the words of RE2.
_SPACES = r"[\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}]+"


def write_saved_model(part: Task | Backbone, preprocessor: Preprocessor | None, directory: Path) -> list[str]:
    """Writes the SavedModel of a task or a backbone into an existing directory; returns the names of its signatures."""
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"a SavedModel needs Keras on tensorflow, it runs on {keras.backend.backend()}; set KERAS_BACKEND"
        )
    module = tf.Module()
    module.all_variables = [variable.value for variable in part.variables]
    signatures = {IDS_SIGNATURE: ids_signature(part)}
    if preprocessor is not None and can_be_in_graph(preprocessor.tokenizer):
        encoder = TextEncoder(preprocessor)
        module.encoder = encoder
        signatures[TEXTS_SIGNATURE] = _texts_signature(part, encoder)
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return list(signatures)


def can_be_in_graph(tokenizer: Tokenizer) -> bool:
    """Whether the operation of tensorflow-text gives its ids: it knows the pieces of a SentencePiece model, no added tokens."""
    composes = getattr(tokenizer, "compose", False)
    return (
        isinstance(tokenizer, SentencePieceTokenizer)
        and not composes
        and "added_tokens" not in tokenizer.added_config()
    )


def ids_signature(task: Any) -> Any:
    """The function of a task or a backbone on ids: int32 (B, T) by the names of its inputs to float32 by name."""
    names = [tensor.name for tensor in task.inputs]
    specs = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in names}

    def serve(**inputs: Any) -> dict[str, Any]:
        return _outputs(task, task(inputs, training=False))

    return tf.function(serve).get_concrete_function(**specs)


def _outputs(task: Any, output: Any) -> dict[str, Any]:
    """logits (B, M, vocabulary_size) of a masked LM; logits and scores (B, num_classes), or of a token classifier
    (B, T, num_classes); values (B, num_classes) of a regression; start_logits and end_logits (B, T) of a question answerer;
    sentence_embedding (B, hidden_dim) of a text embedder; logits and scores (B, T) of a discriminator; what a backbone gives by name; float32."""
    if task.kind == "backbone":
        named = output if isinstance(output, dict) else {"sequence_output": output}
        if not task.has_used_pooler:
            named = {"sequence_output": named["sequence_output"]}
        return {name: tf.cast(value, tf.float32) for name, value in named.items()}
    output = tf.cast(output, tf.float32)
    if task.kind == "masked_lm":
        return {"logits": output}
    if task.kind == "replaced_token_detector":
        return {"logits": output, "scores": tf.sigmoid(output)}
    if task.kind == "question_answerer":
        return {"start_logits": output[..., 0], "end_logits": output[..., 1]}
    if task.kind == "text_embedder":
        return {"sentence_embedding": output}
    if task.kind == "text_classifier" and task.problem == "regression":
        return {"values": output}
    if task.kind == "text_classifier" and task.activation is not keras.activations.linear:
        return {"scores": output}
    is_multi_label = task.kind == "text_classifier" and task.problem == "multi_label"
    return {"logits": output, "scores": tf.sigmoid(output) if is_multi_label else tf.nn.softmax(output)}


class TextEncoder(tf.Module):
    """Strings to rows of ids in the graph, the ids being those of the preprocessor; mask tokens in a text are honoured."""

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        tokenizer = preprocessor.tokenizer
        self._library = tf_text.SentencepieceTokenizer(
            model=tokenizer.proto, out_type=tf.int32, add_bos=tokenizer.add_bos, add_eos=tokenizer.add_eos
        )
        self._final_ids = tf.constant(tokenizer._final_ids(), tf.int32)
        self._mask_token = tokenizer.mask_token
        self._mask_token_id = tokenizer.mask_token_id
        self._packing = SegmentPacking(
            preprocessor.sequence_length,
            tokenizer.start_token_id,
            (tokenizer.end_token_id,) * preprocessor.num_separators,
            tokenizer.end_token_id,
            tokenizer.pad_token_id,
            preprocessor.truncate,
        )

    def rows(self, texts: Any) -> dict[str, Any]:
        """token_ids, segment_ids and padding_mask, int32 (B, sequence_length), of texts (B,)."""
        escaped = self._mask_token.replace("[", r"\[").replace("]", r"\]")
        parts = tf.strings.split(tf.strings.regex_replace(texts, _SPACES + escaped, self._mask_token), self._mask_token)
        pieces = self._library.tokenize(parts.values)
        ids = pieces.with_values(tf.gather(self._final_ids, pieces.values)).with_row_splits_dtype(tf.int64)
        masks = tf.fill([ids.nrows(), 1], self._mask_token_id)
        # A mask behind every part, and the last one taken away.
        joined = tf.RaggedTensor.from_row_splits(tf.concat([ids, masks], axis=1), parts.row_splits).merge_dims(1, 2)
        return pack_segments([joined[:, :-1]], self._packing)

    def masks(self, token_ids: Any) -> tuple[Any, Any]:
        """mask_positions and mask_weights (B, M): where the masks of each row stand, 0 with weight 0 where it has fewer."""
        positions = tf.broadcast_to(tf.range(tf.shape(token_ids)[1]), tf.shape(token_ids))
        found = tf.ragged.boolean_mask(positions, token_ids == self._mask_token_id)
        weights = found.with_values(tf.ones_like(found.values, tf.float32))
        return found.to_tensor(), weights.to_tensor()


def _texts_signature(task: Any, encoder: TextEncoder) -> Any:
    names = [tensor.name for tensor in task.inputs]

    def serve(texts: Any) -> dict[str, Any]:
        rows = encoder.rows(texts)
        if task.kind != "masked_lm":
            return _outputs(task, task({name: rows[name] for name in names}, training=False))
        rows["mask_positions"], weights = encoder.masks(rows["token_ids"])
        hidden = task.encode(rows)
        return {
            "token_ids": rows["token_ids"],
            "padding_mask": rows["padding_mask"],
            "mask_positions": rows["mask_positions"],
            "mask_weights": weights,
            "sequence_output": tf.cast(hidden, tf.float32),
            "logits": tf.cast(task.masked_lm_head(hidden, rows["mask_positions"]), tf.float32),
        }

    return tf.function(serve).get_concrete_function(texts=tf.TensorSpec([None], tf.string, name="texts"))
