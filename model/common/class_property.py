"""A property of a class: read from the class itself, as KerasHub's `presets` is."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class classproperty(Generic[Value]):  # noqa: N801 - used like `property`
    """A read-only property of a class.

    >>> class Shape:
    ...     @classproperty
    ...     def sides(cls):
    ...         return cls.__name__
    >>> Shape.sides
    'Shape'
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self._function = function

    def __get__(self, _instance: object, owner: type) -> Value:
        return self._function(owner)
