"""References of a recipe: `${step.output}` in a value is what another step wrote, `${values.name}` a value of the recipe."""

import re
from collections.abc import Callable, Iterator
from typing import Any

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def references_in(value: Any) -> Iterator[str]:
    """What stands between the braces of every reference in a nested value."""
    for text in texts_in(value):
        yield from _REFERENCE.findall(text)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a nested value, without the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts_in(part)


def with_references(value: Any, resolve: Callable[[str], Any]) -> Any:
    """The nested value with `resolve` of what stands between the braces in the place of each reference. A text that is one
    reference and nothing else becomes what it resolves to, of whatever type.

    Example:

        >>> from clozekit.deploy.workflow.references import with_references
        >>> with_references({"dataset": "${data.output}/len-128", "steps": "${values.steps}"}, {"data.output": "d", "values.steps": 5}.get)
        {'dataset': 'd/len-128', 'steps': 5}
    """
    if isinstance(value, dict):
        return {key: with_references(part, resolve) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_references(part, resolve) for part in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        return resolve(whole[1])
    return _REFERENCE.sub(lambda found: str(resolve(found[1])), value)
