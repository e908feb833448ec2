"""A task or a backbone as an ONNX model in the layout of Hugging Face's Optimum: model.onnx, config.json, the tokenizer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from clozekit.deploy.formats.onnx_deberta_v3 import encode_deberta_v3
from clozekit.deploy.formats.onnx_graph import OnnxGraph
from clozekit.deploy.formats.onnx_layers import (
    array_of,
    attended,
    bias_of,
    dense_of,
    looked_at,
    mean_of_tokens,
    norm_of,
    predicted,
)
from clozekit.deploy.formats.onnx_modern_bert import encode_modern_bert
from clozekit.model.presets.huggingface_preset import write_huggingface_description
from clozekit.model.tasks.backbone import Backbone
from clozekit.model.tasks.pooler import has_pooler
from clozekit.model.tasks.task import Task
from clozekit.model.tasks.text_embedder import NO_TOKEN
from clozekit.tokenizers.common.errors import InputError

# Our inputs -> the names that every server of ONNX models expects.
_INPUTS = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
_ROWS = ("batch_size", "sequence_length")


def write_onnx(part: Task | Backbone, preprocessor: Any, directory: Path) -> list[str]:
    """Writes an ONNX model into an existing directory; batch size and length of the rows are free.

    Args:
        part: a masked LM (logits of every position), a text or token classifier (logits), a discriminator (logits of every token), a question answerer (start_logits,
            end_logits), a text embedder (token_embeddings, sentence_embedding), or a backbone (last_hidden_state, and
            pooler_output where there is a trained pooler).
        preprocessor: whose tokenizer is written beside it; None: none is.
        directory: where the files go.

    Returns:
        Notes on what is otherwise there, a line each.

    Raises:
        InputError: for a quantized model, and what Hugging Face's config.json can't describe.
    """
    check_plain_floats(part, "ONNX")
    backbone = part.backbone if isinstance(part, Task) else part
    graph, notes = OnnxGraph(), []
    hidden = _encode(graph, backbone)
    outputs: dict[str, Sequence[str | int]]
    if not isinstance(part, Task):
        graph.named(hidden, "last_hidden_state")
        outputs = {"last_hidden_state": (*_ROWS, backbone.hidden_dim)}
        if has_pooler(backbone):
            graph.named(_pooled(graph, backbone, hidden), "pooler_output")
            outputs["pooler_output"] = ("batch_size", backbone.hidden_dim)
    elif part.kind == "masked_lm":
        graph.named(_masked_lm_logits(graph, part, hidden), "logits")
        outputs = {"logits": (*_ROWS, backbone.vocabulary_size)}
    elif part.kind == "token_classifier":
        hidden = predicted(graph, part, hidden)
        graph.named(dense_of(graph, hidden, "classifier", part.output_dense), "logits")
        outputs = {"logits": (*_ROWS, part.num_classes)}
    elif part.kind == "replaced_token_detector":
        head, activation = part.detection_head, backbone.settings()["activation"]
        if head.layer_norm is not None:
            first = graph.node("Unsqueeze", graph.first(hidden), graph.constant([1]))
            hidden = norm_of(graph, graph.node("Add", hidden, first), "detection_norm", head.layer_norm)
        inner = graph.activation(dense_of(graph, hidden, "detection_dense", head.dense), activation)
        logits = dense_of(graph, inner, "detection_logits", head.output_dense)
        graph.named(graph.node("Squeeze", logits, graph.constant([2])), "logits")
        outputs = {"logits": _ROWS}
    elif part.kind == "question_answerer":
        both = dense_of(graph, predicted(graph, part, hidden), "answers", part.output_dense)
        names = ("start_logits", "end_logits")
        for side, name in enumerate(names):
            graph.named(graph.node("Gather", both, graph.constant(side), axis=2), name)
        outputs = {name: _ROWS for name in names}
    elif part.kind == "text_embedder":
        # Under the names that Optimum gives those of sentence-transformers.
        graph.named(hidden, "token_embeddings")
        graph.named(_embedding(graph, part, hidden), "sentence_embedding")
        outputs = {
            "token_embeddings": (*_ROWS, backbone.hidden_dim),
            "sentence_embedding": ("batch_size", backbone.hidden_dim),
        }
    else:
        graph.named(_class_logits(graph, part, hidden), "logits")
        outputs = {"logits": ("batch_size", part.num_classes)}
        if part.activation is not keras.activations.linear:
            notes.append(f"gives logits: its {part.activation.__name__} is left to whoever reads them")
    graph.write(directory, [_INPUTS[name] for name in backbone.input_names()], outputs)
    write_huggingface_description(part, preprocessor, directory)
    return notes


def check_plain_floats(part: Task | Backbone, what: str) -> None:
    """Raises InputError for a quantized model."""
    if any(layer.quantization_mode is not None for layer in part._flatten_layers()):
        raise InputError(
            f"a model for {what} must have float weights, this {type(part).__name__} is quantized; convert it before it is"
            " quantized, and quantize it there"
        )


def _encode(graph: OnnxGraph, backbone: Backbone) -> str:
    """The hidden states (B, T, hidden_dim)."""
    if hasattr(backbone, "relative_embeddings"):
        return encode_deberta_v3(graph, backbone)
    if not backbone.has_position_table:
        return encode_modern_bert(graph, backbone)
    tokens = graph.node(
        "Gather", graph.weight("token_embedding", array_of(backbone.token_embedding.embeddings)), "input_ids"
    )
    table = graph.weight("position_embedding", array_of(backbone.position_embedding.position_embeddings))
    length = graph.node("Slice", graph.node("Shape", "input_ids"), graph.constant([1]), graph.constant([2]))
    # More rows than the table has fail in the sum, they are not cut off.
    positions = graph.node("Slice", table, graph.constant([0]), length, graph.constant([0]))
    hidden = graph.node("Add", tokens, positions)
    if "segment_ids" in backbone.input_names():
        segments = graph.weight("segment_embedding", array_of(backbone.segment_embedding.embeddings))
        hidden = graph.node("Add", hidden, graph.node("Gather", segments, "token_type_ids"))
    hidden = norm_of(graph, hidden, "embeddings_norm", backbone.embeddings_layer_norm)
    if hasattr(backbone, "embedding_projection"):
        hidden = dense_of(graph, hidden, "embedding_projection", backbone.embedding_projection)
    bias = bias_of(graph, looked_at(graph))
    known: dict[int, str] = {}
    for layer in backbone.encoder_layers():
        name = known.setdefault(id(layer), f"layer_{len(known)}")
        hidden = _block(graph, hidden, bias, name, layer, backbone.settings())
    return hidden


def _block(graph: OnnxGraph, x: str, bias: str, name: str, layer: Any, settings: Mapping[str, Any]) -> str:
    parts = layer.parts()
    attention, heads = parts.attention, parts.attention.num_heads
    size = settings["hidden_dim"] // heads
    query, key, value = (
        dense_of(graph, x, f"{name}.{part}", getattr(attention, f"{part}_dense")) for part in ("query", "key", "value")
    )
    query = graph.split_heads(graph.node("Mul", query, graph.constant(attention._scale)), heads, size, (0, 2, 1, 3))
    key = graph.split_heads(key, heads, size, (0, 2, 3, 1))
    value = graph.split_heads(value, heads, size, (0, 2, 1, 3))
    taken = attended(graph, name, attention, query, key, value, bias)
    x = norm_of(graph, graph.node("Add", x, taken), f"{name}.attention_norm", parts.attention_norm)
    inner = graph.activation(dense_of(graph, x, f"{name}.inner", parts.inner), settings["activation"])
    outer = dense_of(graph, inner, f"{name}.outer", parts.outer)
    return norm_of(graph, graph.node("Add", x, outer), f"{name}.norm", parts.norm)


def _pooled(graph: OnnxGraph, part: Any, hidden: str) -> str:
    """Of the first token, by the dense layer of a backbone or of a classifier."""
    dense = dense_of(graph, graph.first(hidden), "pooled", part.pooled_dense)
    return graph.activation(dense, part.pooled_dense.activation.__name__.removesuffix("_exact"))


def _masked_lm_logits(graph: OnnxGraph, task: Any, hidden: str) -> str:
    dense, norm, output_bias = task.masked_lm_head.parts()
    inner = graph.activation(dense_of(graph, hidden, "head_dense", dense), task.head_settings()["head_activation"])
    normed = norm_of(graph, inner, "head_norm", norm)
    products = graph.node("MatMul", normed, graph.node("Transpose", "token_embedding", perm=[1, 0]))
    return graph.node("Add", products, graph.weight("output_bias", array_of(output_bias)))


def _embedding(graph: OnnxGraph, task: Any, hidden: str) -> str:
    """The vector of each row, (B, hidden_dim)."""
    if task.pooling == "cls":
        pooled = graph.first(hidden)
    elif task.pooling == "max":
        real = graph.node("Cast", graph.node("Unsqueeze", "attention_mask", graph.constant([2])), to=9)
        tokens = graph.node("Where", real, hidden, graph.constant(NO_TOKEN))
        pooled = graph.node("ReduceMax", tokens, axes=[1], keepdims=0)
    else:
        pooled = mean_of_tokens(graph, hidden)
    if not task.normalize:
        return pooled
    squares = graph.node("ReduceSum", graph.node("Mul", pooled, pooled), graph.constant([1]), keepdims=1)
    length = graph.node("Sqrt", squares)
    return graph.node("Div", pooled, graph.node("Max", length, graph.constant(1e-12)))


def _class_logits(graph: OnnxGraph, task: Any, hidden: str) -> str:
    if hasattr(task, "pooling"):
        pooled = graph.first(hidden) if task.pooling == "cls" else mean_of_tokens(graph, hidden)
        return dense_of(graph, predicted(graph, task, pooled), "classifier", task.output_dense)
    # A pooler of the classifier's own, where the backbone has none.
    pooled = _pooled(graph, task if hasattr(task, "pooled_dense") else task.backbone, hidden)
    return dense_of(graph, pooled, "classifier", task.output_dense)
