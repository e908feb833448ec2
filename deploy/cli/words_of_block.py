"""The command line of a verb from a mapping of its options: names are those of the options, with _ for -."""

import argparse
import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import check, nearest_key
from clozekit.tokenizers.settings.yaml_values import printable

# Of every verb, and of what runs it.
_NOT_IN_A_BLOCK = ("help", "debug", "json", "dry_run", "print_recipe", "command")


def words_of_block(
    parser: argparse.ArgumentParser, parse: Callable[[Sequence[str]], Any], verb: str, block: Mapping[str, Any]
) -> list[str]:
    """The words behind the verb. Raises InputError for a name that is none of its options, a value of another kind, and for
    whatever the verb refuses itself.

    Example:

        >>> from clozekit.deploy.cli.parser import build_parser, parse
        >>> from clozekit.deploy.cli.words_of_block import words_of_block
        >>> words_of_block(build_parser(), parse, "convert", {"sources": ["run/best"], "target": "out", "to": "huggingface"})
        ['run/best', 'out', '--to=huggingface']
    """
    actions = {action.dest: action for action in _actions(parser, verb) if action.dest not in _NOT_IN_A_BLOCK}
    for name in block:
        if name not in actions:
            shown = printable(name)
            raise InputError(
                f"every key of a step must be an option of `clozekit {verb}`, got {shown};"
                f" {nearest_key(shown, [list(actions)], list(actions))}"
            )
    words, options = [], []
    for name, action in actions.items():
        value = block.get(name)
        if value is None:
            continue
        values = list(value) if isinstance(value, list | tuple) else [value]
        fits = all(isinstance(one, str | int | float) for one in values)
        check(f"{name} of `clozekit {verb}` must be a word, a number or a list of them", fits, value)
        if action.option_strings:
            options += _option(action, value, values, verb)
        else:
            words += [str(one) for one in values]
    check_command(parse, [verb, *words, *options])
    return words + options


def check_command(parse: Callable[[Sequence[str]], Any], words: Sequence[str]) -> Any:
    """The options of a command line. Raises InputError for what the verb's own options refuse, in their words."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(words)
    except SystemExit as error:
        line = (said.getvalue().strip().splitlines() or ["it is refused"])[-1]
        raise InputError(
            f"the settings of a step must be those of `clozekit {words[0]}`: {line.partition(': error: ')[2] or line}"
        ) from error


def _actions(parser: argparse.ArgumentParser, verb: str) -> list[argparse.Action]:
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    found: list[argparse.Action] = verbs.choices[verb]._actions
    return found


def _option(action: argparse.Action, value: Any, values: list[Any], verb: str) -> list[str]:
    name = action.option_strings[0]
    if action.nargs == 0:
        check(f"{action.dest} of `clozekit {verb}` must be true or false", isinstance(value, bool), value)
        if isinstance(action, argparse.BooleanOptionalAction) and not value:
            return [f"--no-{name.removeprefix('--')}"]
        return [name] if value else []
    if action.nargs in ("+", "*"):
        return [name, *map(str, values)]
    return [f"{name}={one}" for one in values]
