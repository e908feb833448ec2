"""An ONNX graph that is written node by node: the few operations that encoders are made of, on named values.

Not by tf2onnx: its 1.17 makes an invalid graph of exact GELU, with TensorFlow's operation `Erfc`, which ONNX has not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# LayerNormalization is of 17; every ONNX Runtime since 1.13 takes it.
OPSET, IR_VERSION = 17, 8
# One protobuf message holds less than 2 GiB: what is larger goes into a file beside it.
_LARGEST_MESSAGE = 1_900_000_000
MODEL_FILE, DATA_FILE = "model.onnx", "model.onnx_data"
_SQRT_HALF, _SQRT_TWO_OVER_PI = float(np.sqrt(0.5)), float(np.sqrt(2 / np.pi))


class OnnxGraph:
    """Nodes and weights of a graph that is being made; values go by their names, as ONNX has them."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: dict[str, np.ndarray] = {}

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """The one output of an operation."""
        output = f"{operation}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], output, **attributes))
        return output

    def named(self, value: str, name: str) -> None:
        """Makes a value an output of the graph under this name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name))

    def weight(self, name: str, array: np.ndarray) -> str:
        """An array of the model; given again under its name it is the same one, as ALBERT's layers are."""
        known = self._weights.setdefault(name, array)
        assert known.shape == array.shape, f"two weights are called {name}"
        return name

    def constant(self, value: float | Sequence[int]) -> str:
        """A number as float32, or a list of int64 for shapes and axes."""
        array = np.float32(value) if isinstance(value, float) else np.array(value, np.int64)
        return self.weight(f"constant_{str(value).replace(' ', '')}", np.asarray(array))

    def dense(self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        """x (..., n) times kernel (n, m), and bias (m,)."""
        product = self.node("MatMul", x, self.weight(f"{name}.kernel", kernel))
        return self.node("Add", product, self.weight(f"{name}.bias", bias))

    def norm(self, x: str, name: str, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> str:
        weights = (self.weight(f"{name}.gamma", gamma), self.weight(f"{name}.beta", beta))
        return self.node("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon)

    def activation(self, x: str, name: str) -> str:
        """One of the activations that models have (layers/transformer_layers.py)."""
        if name == "gelu":
            inner = self.node("Erf", self.node("Mul", x, self.constant(_SQRT_HALF)))
            return self.node(
                "Mul", self.node("Mul", x, self.constant(0.5)), self.node("Add", inner, self.constant(1.0))
            )
        if name == "gelu_approximate":
            cube = self.node("Mul", self.node("Mul", x, x), x)
            inner = self.node("Add", x, self.node("Mul", cube, self.constant(0.044715)))
            inner = self.node("Tanh", self.node("Mul", inner, self.constant(_SQRT_TWO_OVER_PI)))
            return self.node(
                "Mul", self.node("Mul", x, self.constant(0.5)), self.node("Add", inner, self.constant(1.0))
            )
        if name == "silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        return self.node({"relu": "Relu", "tanh": "Tanh"}[name], x)

    def first(self, x: str) -> str:
        """(B, T, H) -> (B, H), each row's first token."""
        return self.node("Gather", x, self.weight("index_0", np.asarray(np.int64(0))), axis=1)

    def split_heads(self, x: str, num_heads: int, size: int, axes: Sequence[int]) -> str:
        """(B, T, heads x size) -> four axes, put in the order `axes`."""
        return self.node("Transpose", self.node("Reshape", x, self.constant([0, 0, num_heads, size])), perm=list(axes))

    def write(self, directory: Path, inputs: Sequence[str], outputs: Mapping[str, Sequence[str | int]]) -> None:
        """Writes `model.onnx`. inputs: int64 (batch_size, sequence_length); outputs: float32, name -> axes."""
        rows = ("batch_size", "sequence_length")
        graph = helper.make_graph(
            self._nodes,
            "clozekit",
            [helper.make_tensor_value_info(name, TensorProto.INT64, rows) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(axes)) for name, axes in outputs.items()],
            [numpy_helper.from_array(np.array(array, order="C"), name) for name, array in self._weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="clozekit"
        )
        path = str(directory / MODEL_FILE)
        if sum(array.nbytes for array in self._weights.values()) > _LARGEST_MESSAGE:
            onnx.save_model(model, path, save_as_external_data=True, location=DATA_FILE, size_threshold=1024)
        else:
            onnx.save_model(model, path)
        onnx.checker.check_model(path, full_check=True)
