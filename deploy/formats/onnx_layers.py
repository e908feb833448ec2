"""Keras layers as nodes of an ONNX graph: dense, normalisation, attention, the pooling of tokens."""

import math
from typing import Any

import keras
import numpy as np

from clozekit.deploy.formats.onnx_graph import OnnxGraph


def array_of(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def dense_of(graph: OnnxGraph, x: str, name: str, layer: Any, input_axes: int = 1) -> str:
    """Any dense layer. input_axes: how many axes of its kernel are its inputs."""
    kernel = array_of(layer.kernel)
    kernel = kernel.reshape(math.prod(kernel.shape[:input_axes]), -1)
    bias = np.zeros(kernel.shape[1], np.float32) if layer.bias is None else array_of(layer.bias).reshape(-1)
    return graph.dense(x, name, kernel, bias)


def norm_of(graph: OnnxGraph, x: str, name: str, layer: Any) -> str:
    gamma = array_of(layer.gamma)
    beta = np.zeros_like(gamma) if layer.beta is None else array_of(layer.beta)
    return graph.norm(x, name, gamma, beta, layer.epsilon)


def attended(graph: OnnxGraph, name: str, attention: Any, query: str, key: str, value: str, bias: str) -> str:
    """(B, T, H) of queries (B, heads, T, size), keys (B, heads, size, T) and values (B, heads, T, size)."""
    scores = graph.node("Add", graph.node("MatMul", query, key), bias)
    taken = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    joined = graph.node("Reshape", graph.node("Transpose", taken, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1]))
    output = attention.projections()["output"]
    return dense_of(graph, joined, f"{name}.attention_output", output, input_axes=len(output.kernel.shape) - 1)


def looked_at(graph: OnnxGraph) -> str:
    """bool (B, 1, 1, T): what is no padding."""
    return graph.node("Cast", graph.node("Unsqueeze", "attention_mask", graph.constant([1, 2])), to=9)


def bias_of(graph: OnnxGraph, mask: str) -> str:
    """What is added to the scores."""
    return graph.node("Where", mask, graph.constant(0.0), graph.constant(-1e9))


def mean_of_tokens(graph: OnnxGraph, hidden: str) -> str:
    """(B, H): the mean of the tokens that are no padding."""
    mask = graph.node("Cast", graph.node("Unsqueeze", "attention_mask", graph.constant([2])), to=1)
    total = graph.node("ReduceSum", graph.node("Mul", hidden, mask), graph.constant([1]), keepdims=0)
    count = graph.node("Max", graph.node("ReduceSum", mask, graph.constant([1]), keepdims=0), graph.constant(1e-9))
    return graph.node("Div", total, count)


def predicted(graph: OnnxGraph, task: Any, hidden: str) -> str:
    """What the last layer of a head reads: hidden states, through the prediction head of the families that have one."""
    head = task.prediction_head
    if head is None:
        return hidden
    activation = task.backbone.settings()["head_activation"]
    activated = graph.activation(dense_of(graph, hidden, "prediction_dense", head.dense), activation)
    return norm_of(graph, activated, "prediction_norm", head.norm)
