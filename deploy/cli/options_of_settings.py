"""Options of the command from the fields of settings: type, choices, default and help stand in the class alone.

A field `num_shards: int` is the option `--num-shards N`. What is not so, because an option is older than this rule or
reads better, stands in a `Spelling`; what is no option is named too.
"""

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.cli.field_descriptions import descriptions_of
from clozekit.pipelines.settings.choices import choices_of

# By the end of a field's name: what stands for its value in the help.
_METAVARS = {"_mb": "MB", "_rate": "RATE", "_coverage": "RATE", "_similarity": "RATE", "_probability": "RATE"}
_IN_BACKQUOTES = re.compile(r"`(\w+)`")
# A longer default is for the reference page.
_MOST_CHARACTERS = 40


@dataclass(frozen=True)
class Spelling:
    """How the option of a field is written.

    name: of the option; metavar: what stands for its value. action: what a second one does to the first: "extend" adds its
    values, "append" (of one value each) too; otherwise it comes in its place. parse: what the words of the command line are.
    """

    name: str | None = None
    metavar: str | None = None
    action: str | None = None
    parse: Callable[[list[str]], Any] = tuple


@dataclass(frozen=True)
class OptionTable:
    """The options of a class of settings.

    spellings: field -> how its option is written, where the rule does not say it. without: fields that are no options.
    """

    settings: type
    spellings: Mapping[str, Spelling] = dataclasses.field(default_factory=dict)
    without: Collection[str] = ()

    def options(self) -> dict[str, str]:
        """Field -> the name of its option."""
        names = (field.name for field in dataclasses.fields(self.settings) if field.name not in self.without)
        return {name: self._spelling(name).name or f"--{name.replace('_', '-')}" for name in names}

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Adds an option for each field. What is not given is None, whatever the default."""
        fields = {field.name: field for field in dataclasses.fields(self.settings)}
        hints, described = typing.get_type_hints(self.settings), descriptions_of(self.settings)
        options = self.options()
        for name, option in options.items():
            said = _how_it_is_given(fields[name], hints[name], self._spelling(name))
            # Another field is called by its option here.
            meaning = _IN_BACKQUOTES.sub(lambda found: options.get(found[1], found[0]), described.get(name, ""))
            # A word that argparse would fill in begins with %.
            help_text = (meaning + _shown_default(fields[name])).replace("%", "%%")
            parser.add_argument(option, default=None, required=_is_needed(fields[name]), help=help_text, **said)

    def given(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Field -> what its option says, None where it was not given."""
        return {
            name: self._parsed(name, getattr(arguments, option.removeprefix("--").replace("-", "_"), None))
            for name, option in self.options().items()
        }

    def settings_from(self, arguments: argparse.Namespace, **others: Any) -> Any:
        """The settings that the options make, and `others`: fields that are none."""
        given = {name: value for name, value in self.given(arguments).items() if value is not None}
        return self.settings(**given, **others)

    def _spelling(self, name: str) -> Spelling:
        return self.spellings.get(name, Spelling())

    def _parsed(self, name: str, value: Any) -> Any:
        return self._spelling(name).parse(value) if isinstance(value, list) else value


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _how_it_is_given(field: dataclasses.Field[Any], hint: Any, how: Spelling) -> dict[str, Any]:
    """The arguments of `add_argument` that a field's type asks for."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not types.NoneType)
    if kind is bool:
        # Where false is not what is taken without it, it must be sayable.
        off = field.default is False and types.NoneType not in kinds
        return {"action": "store_true" if off else argparse.BooleanOptionalAction}
    said: dict[str, Any] = {} if how.action is None else {"action": how.action}
    if typing.get_origin(kind) is not None:
        # A tuple, or a mapping whose entries are words such as TAG=LEAST..MOST.
        (kind, *_) = typing.get_args(kind)
        said |= {} if how.action == "append" else {"nargs": "+"}
    if kind in (int, float):
        said["type"] = kind
    choices = choices_of(field)
    if choices is not None:
        return {**said, "choices": choices}
    number = {int: "N", float: "X"}.get(kind)
    ending = next((shown for end, shown in _METAVARS.items() if field.name.endswith(end)), number)
    return {**said, "metavar": how.metavar or ending}


def _shown_default(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if isinstance(default, tuple):
        default = ", ".join(map(str, default))
    if default is None or default is False or default is dataclasses.MISSING or default == "":
        return ""
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f" (default: {shown})" if len(shown) <= _MOST_CHARACTERS else ""
