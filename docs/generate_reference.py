"""Writes command-reference.md and configuration-reference.md from the parser of the command and the settings' classes.

    python docs/generate_reference.py

A test fails when a page is not what this would write.
"""

import argparse
import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clozekit.deploy.cli.field_descriptions import descriptions_of, paragraphs_of
from clozekit.deploy.cli.parser import build_parser
from clozekit.deploy.submit.job_spec import Job
from clozekit.deploy.workflow.sweeps.rules.sweep_settings import Span, SweepSettings
from clozekit.model.training.settings.finetune_settings import FinetuneSettings
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.pipelines.cleaning.tags import TAGS
from clozekit.pipelines.settings.choices import choices_of
from clozekit.pipelines.settings.corpus_settings import (
    RULE_SETS,
    CleanSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings, RowSettings, Source
from clozekit.pipelines.settings.source_settings import SourceSettings
from clozekit.pipelines.settings.stream_settings import WatchSettings, WindowSettings
from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings
from clozekit.tokenizers.hub.builtin_presets import BUILTIN_PRESETS

FOLDER = Path(__file__).resolve().parent
COMMANDS, CONFIGURATION = "command-reference.md", "configuration-reference.md"
_GENERATED = "<!-- Written by docs/generate_reference.py: change the code, then run it again. -->\n"


def command_reference() -> str:
    """The page of the commands."""
    parser = build_parser()
    lines = [
        "# Command reference",
        "",
        _GENERATED,
        "What `clozekit COMMAND --help` says, on one page. `clozekit --debug COMMAND ...` shows the traceback of an error,",
        "`clozekit --version` the version. With `--json`, where a command has it, the answer is JSON and nothing else is on standard",
        "output, with the keys that its line names; an error is one line on standard error and an exit status, as without.",
        "",
        plain(parser.epilog or ""),
    ]
    for name, command in _subparsers(parser):
        lines += ["", f"## clozekit {name}", "", *_command(command)]
        for action, inner in _subparsers(command):
            lines += ["", f"### clozekit {name} {action}", "", *_command(inner)]
    return "\n".join(lines) + "\n"


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _command(parser: argparse.ArgumentParser) -> list[str]:
    """Summary, usage where one is written by hand, a table for each group of options, examples."""
    lines = [plain(parser.description or "")]
    if parser.usage:
        lines += ["", "```text", parser.usage, "```"]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_shown(action)]
        if not actions and group.title in ("positional arguments", "options"):
            continue
        if group.title not in ("positional arguments", "options"):
            lines += ["", f"**{(group.title or '').capitalize()}**"]
        if group.description:
            lines += ["", plain(group.description)]
        if actions:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += [f"| `{_name(action)}` | {_help(parser, action)} |" for action in actions]
    # The examples, indented as argparse shows them.
    examples = (parser.epilog or "").strip()
    if examples.startswith("example"):
        first, _, rest = examples.partition("\n")
        lines += ["", f"{first.rstrip(':').capitalize()}:", "", "```text", inspect.cleandoc("\n" + rest), "```"]
    return lines


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    return not hidden and action.help is not argparse.SUPPRESS


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return "" if action.help is None else cell(parser._get_formatter()._expand_help(action))


def _name(action: argparse.Action) -> str:
    """How an argument is written: its names, and what stands behind them."""
    value = str(action.metavar or (action.dest.upper() if action.option_strings else action.dest))
    if action.metavar is None and action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return value + (" ..." if action.nargs in ("*", "+") else "")
    names = ", ".join(action.option_strings)
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return names
    return f"{names} {value}" + (" ..." if action.nargs in ("*", "+") else "")


def cell(text: str) -> str:
    """`text` for a cell of a table."""
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """`text` on one line as Markdown that means no markup; what stands in backquotes stays as it is."""
    parts = " ".join(text.split()).split("`")
    return "`".join(
        part if number % 2 else part.replace("<", "&lt;").replace("*", "\\*") for number, part in enumerate(parts)
    )


def configuration_reference() -> str:
    """The page of the settings."""
    lines = [
        "# Configuration reference",
        "",
        _GENERATED,
        "Every key with its type and default, as the classes of the settings have them. An unknown key is refused and the",
        "nearest known one named; a value of another type is refused too. `KEY=VALUE` behind a command changes a key for once,",
        "its name dotted: `train.steps=5000`.",
        "",
        "## The configuration of train",
        "",
        "The file of `clozekit train CONFIG.YAML`.",
        "",
        *_settings(RunSettings, "", level=3),
        "",
        "### Built-in presets",
        "",
        "The names that `model.preset`, `init_from` and every command's PRESET know.",
        "",
        "| name | family | parameters |",
        "|---|---|---:|",
        *(f"| `{p.name}` | {p.family} | {p.parameters:,} |" for p in BUILTIN_PRESETS.values()),
        "",
        "## The configuration of finetune",
        "",
        "The file of `clozekit finetune CONFIG.YAML`; `glue/NAME` is one of those that come with Clozekit.",
        "",
        *_settings(FinetuneSettings, "", level=3),
        "",
        "## The recipe of prepare",
        "",
        "The file of `clozekit prepare RECIPE.YAML`, and of `clozekit vocab --config`: the two keys `tokenizer` (a directory)",
        "and `output` (where the dataset goes), and a section for each heading below. Options of the command take precedence.",
        "",
    ]
    notes = {
        "sources": "A list, each entry with these keys.",
        "rows": "In Python the keyword arguments of `PrepareSettings`, for one length.",
    }
    for name, section in (
        ("sources", Source),
        ("read", ReadSettings),
        ("clean", CleanSettings),
        ("filter", FilterSettings),
        ("decontaminate", DecontaminateSettings),
        ("deduplicate", DeduplicateSettings),
        ("rows", RowSettings),
    ):
        note = notes.get(name, "")
        lines += [f"### {name}", "", *([note, ""] if note else []), *_one_class(section, f"{name}."), ""]
    lines += [
        "### Sets of rules",
        "",
        "What `filter.rule_sets` (`--quality`) stands for: the least and the most that a document may have.",
        "",
        "| set | tag | least | most |",
        "|---|---|---:|---:|",
        *(
            f"| {name} | `{tag}` | {'' if low is None else f'{low:,}'} | {'' if high is None else f'{high:,}'} |"
            for name, rules in RULE_SETS.items()
            for tag, (low, high) in rules.items()
        ),
        "",
        "### Tags",
        "",
        "What `filter.rules` (`--rule`) may set bounds for; a rate is 0 to 1.",
        "",
        "| tag | measures |",
        "|---|---|",
        *(f"| `{name}` | {cell(meaning)} |" for name, meaning in TAGS.items()),
        "",
        "## The recipe of stream",
        "",
        "The file of `clozekit stream RECIPE.YAML`: the keys and sections of a recipe of `prepare` but `sources`, with one",
        "`rows.sequence_length`, and the section `stream`. What stays as it is for the life of a stream:",
        "",
        *_one_class(WindowSettings, "stream."),
        "",
        "The section `source`, where documents do not come from `read.inputs`:",
        "",
        *_one_class(SourceSettings, "source."),
        "",
        "What may be another one each time:",
        "",
        *_one_class(WatchSettings, "stream."),
        "",
        "## The vocabulary",
        "",
        "Options of `clozekit vocab`, and keyword arguments of `VocabularySettings` in Python.",
        "",
        *_one_class(VocabularySettings, ""),
        "",
        "## The job of submit",
        "",
        "The file of `clozekit submit WHERE JOB.YAML`.",
        "",
        *_settings(Job, "", level=3),
        "",
        "## The sweep of run",
        "",
        "The group `sweep` of the recipe of `clozekit run RECIPE.YAML`, beside the settings that it tries: names with a dot, each with a",
        "list of values or a range; `seeds` has lists alone.",
        "",
        *_settings(SweepSettings, "sweep.", level=3),
        "",
        "### A range",
        "",
        *_one_class(Span, ""),
    ]
    return "\n".join(lines) + "\n"


def _settings(cls: Any, prefix: str, level: int) -> list[str]:
    """A class of settings, and those that its fields hold below headings of their own."""
    lines = _one_class(cls, prefix)
    for name, inner in _groups(cls):
        heading = f"{prefix}{name}"
        lines += ["", f"{'#' * level} {heading}", "", *_settings(inner, f"{heading}.", level)]
    return lines


def _groups(cls: Any) -> Iterator[tuple[str, Any]]:
    for name, kind in _kinds(cls):
        inner = [part for part in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(part)]
        if inner:
            yield name, inner[0]


def _kinds(cls: Any) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        yield entry.name, hints[entry.name]


def _one_class(cls: Any, prefix: str) -> list[str]:
    hints = dict(_kinds(cls))
    groups = dict(_groups(cls))
    rows = [
        f"| `{prefix}{entry.name}` | {_values(entry, hints[entry.name])} | {_default(entry)} |"
        for entry in dataclasses.fields(cls)
        # A group has its own table, unless there may be none of it, or several.
        if entry.name not in groups or hints[entry.name] is not groups[entry.name]
    ]
    text = _prose(cls, list(hints))
    return [*text, "| key | type | default |", "|---|---|---|", *rows]


def _prose(cls: Any, names: list[str]) -> list[str]:
    """The docstring of a class as paragraphs, and a list of what it, or a base of it, says of each field."""
    described = inspect.cleandoc(cls.__doc__ or "")
    # One that dataclass made is the signature.
    if described.startswith(f"{cls.__name__}("):
        return []
    own = paragraphs_of(described, names)
    said = {name for paragraph in own for one in paragraph.fields for name in one.names}
    lines: list[str] = []
    for paragraph in own:
        lines += [plain(paragraph.text), ""] if paragraph.text else []
        lines += [_meaning(one.names, one.aside, one.meaning) for one in paragraph.fields]
        lines += [""] if paragraph.fields else []
    inherited = [_meaning([name], "", meaning) for name, meaning in descriptions_of(cls).items() if name not in said]
    return [*lines[:-1], *inherited, ""]


def _meaning(names: Sequence[str], aside: str, meaning: str) -> str:
    return f"- {', '.join(f'`{name}`' for name in names)}{aside}: {plain(meaning)}."


_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "nothing"}


def _values(entry: dataclasses.Field[Any], kind: Any) -> str:
    """What a field may hold: its choices where it has some, else its type."""
    choices = choices_of(entry)
    if choices is None:
        return _type(kind)
    one = ", ".join(f"`{word}`" for word in choices)
    return f"a list of {one}" if typing.get_origin(kind) is tuple else one


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _NAMES:
        return _NAMES[kind]
    if dataclasses.is_dataclass(kind):
        return "a group of keys"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments if part is not type(None))
    if origin is tuple:
        inner = _type(arguments[0])
        return "a list of groups of keys" if inner == "a group of keys" else f"a list of {inner}s"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    raise TypeError(f"no words for the type {kind}")


def _default(entry: dataclasses.Field[Any]) -> str:
    if entry.default is not dataclasses.MISSING:
        value = entry.default
    elif entry.default_factory is not dataclasses.MISSING:
        value = entry.default_factory()
    else:
        return "required"
    if value is None:
        return "not set"
    if isinstance(value, float) and value and abs(value) < 1e-3:
        return f"`{value:g}`"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"`{json.dumps(list(value))}`"
    return f"`{json.dumps(value)}`" if value != "" else '`""`'


PAGES = {COMMANDS: command_reference, CONFIGURATION: configuration_reference}


def main() -> None:
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()
