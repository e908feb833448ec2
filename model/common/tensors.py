"""Types of what models compute with and are made of: tensors, batches of rows, dtypes, activations, settings."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import keras

Shape = tuple[int | None, ...]
# What stands in the brackets of `tensor[...]`.
_Index = int | slice | None
# `keras.DTypePolicy` is what Keras makes of a name; None is its default.
DType: TypeAlias = str | keras.DTypePolicy | None


class Tensor(Protocol):
    """A tensor of TensorFlow, JAX or PyTorch, one of Keras's symbolic graph, or an array of NumPy.

    A protocol of what our code does to one itself: the backends' classes have no base in common, and everything else is
    done by `keras.ops`, which takes any of them. `shape` holds None where a graph does not know a size.
    """

    @property
    def shape(self) -> tuple[Any, ...]: ...
    @property
    def dtype(self) -> object: ...
    def __getitem__(self, index: _Index | tuple[_Index, ...], /) -> "Tensor": ...
    def __add__(self, other: Any, /) -> "Tensor": ...
    def __mul__(self, other: Any, /) -> "Tensor": ...


# Tensors of one batch by their names: token_ids, padding_mask, ...
Rows: TypeAlias = Mapping[str, Tensor]
# What a backbone gives: hidden states, alone or with what a pooler makes of them.
Outputs: TypeAlias = Tensor | dict[str, Tensor]
Activation: TypeAlias = Callable[[Tensor], Tensor]
# Constructor arguments by name, and the JSON objects that tell them, of a class that is chosen at run time: no type but
# that class's own could say what each value is, and `check_arguments` (tokenizers/settings/constructor_arguments.py)
# holds those of files against it.
Settings: TypeAlias = dict[str, Any]
