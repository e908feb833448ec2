"""ModernBERT's encoder as nodes of an ONNX graph: rotary positions, windows, gates."""

from typing import Any

import numpy as np

from clozekit.deploy.formats.onnx_graph import OnnxGraph
from clozekit.deploy.formats.onnx_layers import array_of, attended, bias_of, dense_of, looked_at, norm_of

_FULL = "full_attention"


def encode_modern_bert(graph: OnnxGraph, backbone: Any) -> str:
    """The hidden states (B, T, hidden_dim)."""
    settings = backbone.settings()
    table = graph.weight("token_embedding", array_of(backbone.token_embedding.embeddings))
    hidden = norm_of(graph, graph.node("Gather", table, "input_ids"), "embeddings_norm", backbone.embeddings_layer_norm)
    length = graph.node("Gather", graph.node("Shape", "input_ids"), graph.weight("index_1", np.asarray(np.int64(1))))
    zero, one = (graph.weight(f"index_{number}", np.asarray(np.int64(number))) for number in (0, 1))
    positions = graph.node("Cast", graph.node("Range", zero, length, one), to=1)
    whole = looked_at(graph)
    near = _window(graph, positions, whole, settings["attention_window"])
    biases = {True: bias_of(graph, whole), False: bias_of(graph, near)}
    size = settings["hidden_dim"] // settings["num_heads"]
    bases = {True: settings["global_rope_base"], False: settings["local_rope_base"]}
    rotations = {is_full: _rotation(graph, positions, size, base) for is_full, base in bases.items()}
    for index, (kind, layer) in enumerate(zip(backbone.block_types(), backbone.encoder_layers(), strict=True)):
        is_full = kind == _FULL
        hidden = _block(graph, hidden, f"layer_{index}", layer, biases[is_full], rotations[is_full], settings)
    return norm_of(graph, hidden, "final_norm", backbone.final_layer_norm)


def _window(graph: OnnxGraph, positions: str, mask: str, window: int) -> str:
    """bool (B, 1, T, T): the mask, cut to the window around each token, which always sees itself."""
    rows, columns = (graph.node("Unsqueeze", positions, graph.constant([axis])) for axis in (1, 0))
    distances = graph.node("Abs", graph.node("Sub", rows, columns))
    near = graph.node("LessOrEqual", distances, graph.constant(float(window // 2)))
    own = graph.node("LessOrEqual", distances, graph.constant(0.5))
    return graph.node("Or", graph.node("And", mask, near), own)


def _rotation(graph: OnnxGraph, positions: str, size: int, base: float) -> tuple[str, str]:
    """Cosines and sines (T, size), as RotaryPositions makes them."""
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = (1.0 / np.power(np.float32(base), exponents)).astype(np.float32)
    weight = graph.weight(f"frequencies_{base}", np.concatenate([frequencies, frequencies])[None])
    angles = graph.node("Mul", graph.node("Unsqueeze", positions, graph.constant([1])), weight)
    return graph.node("Cos", angles), graph.node("Sin", angles)


def _turned(graph: OnnxGraph, x: str, rotation: tuple[str, str], size: int) -> str:
    """(B, heads, T, size), turned by the positions."""
    axis = graph.constant([3])
    first = graph.node("Slice", x, graph.constant([0]), graph.constant([size // 2]), axis)
    second = graph.node("Slice", x, graph.constant([size // 2]), graph.constant([size]), axis)
    crossed = graph.node("Concat", graph.node("Neg", second), first, axis=3)
    return graph.node("Add", graph.node("Mul", x, rotation[0]), graph.node("Mul", crossed, rotation[1]))


def _block(
    graph: OnnxGraph, x: str, name: str, layer: Any, bias: str, rotation: tuple[str, str], settings: dict[str, Any]
) -> str:
    parts = layer.parts()
    attention, heads = parts.attention, settings["num_heads"]
    size = settings["hidden_dim"] // heads
    first = x if parts.attention_norm is None else norm_of(graph, x, f"{name}.attention_norm", parts.attention_norm)
    query, key, value = (
        graph.split_heads(
            dense_of(graph, first, f"{name}.{part}", getattr(attention, f"{part}_dense")), heads, size, (0, 2, 1, 3)
        )
        for part in ("query", "key", "value")
    )
    query = graph.node("Mul", _turned(graph, query, rotation, size), graph.constant(attention._scale))
    key = graph.node("Transpose", _turned(graph, key, rotation, size), perm=[0, 1, 3, 2])
    x = graph.node("Add", x, attended(graph, name, attention, query, key, value, bias))
    first = norm_of(graph, x, f"{name}.norm", parts.norm)
    inner = graph.activation(dense_of(graph, first, f"{name}.inner", parts.inner), settings["activation"])
    product = graph.node("Mul", inner, dense_of(graph, first, f"{name}.gate", parts.gate))
    return graph.node("Add", x, dense_of(graph, product, f"{name}.outer", parts.outer))
