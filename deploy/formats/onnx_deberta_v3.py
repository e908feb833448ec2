"""DeBERTa V3's encoder as nodes of an ONNX graph: relative positions are projected when it is written."""

from typing import Any

import numpy as np

from clozekit.deploy.formats.onnx_graph import OnnxGraph
from clozekit.deploy.formats.onnx_layers import array_of, attended, bias_of, dense_of, looked_at, norm_of


def encode_deberta_v3(graph: OnnxGraph, backbone: Any) -> str:
    """The hidden states (B, T, hidden_dim)."""
    settings = backbone.settings()
    table = graph.weight("token_embedding", array_of(backbone.token_embedding.embeddings))
    hidden = norm_of(graph, graph.node("Gather", table, "input_ids"), "embeddings_norm", backbone.embeddings_layer_norm)
    bias = bias_of(graph, looked_at(graph))
    layers = backbone.encoder_layers()
    places = _places(graph, layers[0].parts().attention, settings["num_heads"])
    relative = array_of(backbone.relative_embeddings(np.zeros((1, 1, settings["hidden_dim"]), np.float32)))
    for index, layer in enumerate(layers):
        hidden = _block(graph, hidden, f"layer_{index}", layer, bias, places, relative, settings)
    return hidden


def _places(graph: OnnxGraph, attention: Any, heads: int) -> tuple[str, str]:
    """int64 (B, heads, T, T): the row of the table of relative positions for a query and a key, and for a key and a query."""
    rows = attention.rows.astype(np.int64)
    most = len(rows) // 2
    shape = graph.node("Shape", "input_ids")
    zero, one = (graph.weight(f"index_{number}", np.asarray(np.int64(number))) for number in (0, 1))
    positions = graph.node("Range", zero, graph.node("Gather", shape, one), one)
    queries, keys = (graph.node("Unsqueeze", positions, graph.constant([axis])) for axis in (1, 0))
    ends = [graph.weight(f"distance_{end}", np.asarray(np.int64(end))) for end in (-most, most)]
    distances = graph.node("Add", graph.node("Clip", graph.node("Sub", queries, keys), *ends), ends[1])
    found = graph.node("Gather", graph.weight("distance_rows", rows), distances)
    length, batch = (
        graph.node("Slice", shape, graph.constant([1]), graph.constant([2])),
        graph.node("Slice", shape, graph.constant([0]), graph.constant([1])),
    )
    whole = graph.node("Concat", batch, graph.constant([heads]), length, length, axis=0)
    both = found, graph.node("Transpose", found, perm=[1, 0])
    first, second = (graph.node("Expand", one, whole) for one in both)
    return first, second


def _by_position(
    graph: OnnxGraph, x: str, name: str, dense: Any, relative: np.ndarray, scale: float, places: str
) -> str:
    """(B, heads, T, T): x (B, heads, T, size) times the projected positions, those at `places` of each."""
    kernel, bias = array_of(dense.kernel), array_of(dense.bias)
    table = (np.einsum("rh,hnd->ndr", relative, kernel) + bias[:, :, None]) * np.float32(scale)
    products = graph.node("MatMul", x, graph.weight(name, table.astype(np.float32)))
    return graph.node("GatherElements", products, places, axis=3)


def _block(
    graph: OnnxGraph,
    x: str,
    name: str,
    layer: Any,
    bias: str,
    places: tuple[str, str],
    relative: np.ndarray,
    settings: dict[str, Any],
) -> str:
    parts = layer.parts()
    attention, heads, kinds = parts.attention, settings["num_heads"], settings["position_attention"]
    size, dense = settings["hidden_dim"] // heads, parts.attention.projections()
    query, key, value = (
        graph.split_heads(dense_of(graph, x, f"{name}.{part}", dense[part]), heads, size, (0, 2, 1, 3))
        for part in ("query", "key", "value")
    )
    scores = bias
    if "c2p" in kinds:
        layer_of = dense.get("position_key", dense["key"])
        found = _by_position(graph, query, f"{name}.position_keys", layer_of, relative, attention._scale, places[0])
        scores = graph.node("Add", scores, found)
    if "p2c" in kinds:
        layer_of = dense.get("position_query", dense["query"])
        found = _by_position(graph, key, f"{name}.position_queries", layer_of, relative, attention._scale, places[1])
        scores = graph.node("Add", scores, graph.node("Transpose", found, perm=[0, 1, 3, 2]))
    query = graph.node("Mul", query, graph.constant(attention._scale))
    key = graph.node("Transpose", key, perm=[0, 1, 3, 2])
    taken = attended(graph, name, attention, query, key, value, scores)
    x = norm_of(graph, graph.node("Add", x, taken), f"{name}.attention_norm", parts.attention_norm)
    inner = graph.activation(dense_of(graph, x, f"{name}.inner", parts.inner), settings["activation"])
    outer = dense_of(graph, inner, f"{name}.outer", parts.outer)
    return norm_of(graph, graph.node("Add", x, outer), f"{name}.norm", parts.norm)
