"""A property of a class: read from the class itself, as KerasHub's `presets` is."""

from typing import Any


class classproperty:  # noqa: N801 - used like `property`
    """A read-only property of a class.

    >>> class Shape:
    ...     @classproperty
    ...     def sides(cls):
    ...         return cls.__name__
    >>> Shape.sides
    'Shape'
    """

    def __init__(self, function: Any) -> None:
        self._function = function

    def __get__(self, _instance: Any, owner: type) -> Any:
        return self._function(owner)
