"""The options of `vocab` and `prepare` that say what is read and what is selected of it, and their settings."""

import argparse
from dataclasses import dataclass
from typing import Any

from clozekit.deploy.cli.options_of_settings import OptionTable, Spelling
from clozekit.pipelines.settings.corpus_settings import (
    CleanSettings,
    DecontaminateSettings,
    DeduplicateSettings,
    FilterSettings,
)
from clozekit.pipelines.settings.prepare_settings import ReadSettings, Source
from clozekit.tokenizers.common.errors import InputError


def parse_source(text: str) -> Source:
    """A source as the command line has it: NAME=PATH or NAME=PATH:WEIGHT."""
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise InputError(f"--source must look like NAME=PATH or NAME=PATH:WEIGHT, got {text!r}")
    path, colon, weight = rest.rpartition(":")
    if colon:
        try:
            return Source(name, (path,), float(weight))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
    return Source(name, (rest,))


def parse_rule(text: str) -> tuple[str, list[float | None]]:
    """A rule as the command line has it: TAG=LEAST..MOST, either side empty for no bound."""
    tag, equals, bounds = text.partition("=")
    low, dots, high = bounds.partition("..")
    try:
        if equals and dots:
            return tag, [float(bound) if bound else None for bound in (low, high)]
    except ValueError:
        pass
    raise InputError(f"--rule must look like num_words=50..100000 (either side may be empty), got {text!r}")


@dataclass(frozen=True)
class _Section:
    """A section of a recipe, and the heading below which `--help` lists its options."""

    name: str
    table: OptionTable
    heading: str


# The names are older than the rule of options_of_settings.py. A field that is no option would say nothing without its
# section: the recipe has it.
SECTIONS = (
    _Section(
        "read",
        OptionTable(
            ReadSettings,
            {
                "inputs": Spelling("--input", "PATH", "extend"),
                "sources": Spelling(
                    "--source", "NAME=PATH[:WEIGHT]", "append", lambda words: tuple(map(parse_source, words))
                ),
                "document_kind": Spelling("--document"),
                "text_key": Spelling(metavar="NAME"),
                "id_key": Spelling(metavar="NAME"),
            },
        ),
        "where documents come from",
    ),
    _Section(
        "clean",
        OptionTable(
            CleanSettings,
            {
                "unicode": Spelling("--clean"),
                "boilerplate_lines": Spelling("--drop-boilerplate"),
                "boilerplate_phrases": Spelling(metavar="PHRASE"),
            },
        ),
        "how texts are cleaned, in this order",
    ),
    _Section(
        "filter",
        OptionTable(
            FilterSettings,
            {
                "rule_sets": Spelling("--quality"),
                "rules": Spelling("--rule", "TAG=LEAST..MOST", "extend", lambda words: dict(map(parse_rule, words))),
                "languages": Spelling("--language", "CODE"),
                "tags": Spelling("--keep-tags", "DIRECTORY"),
                "bad_words": Spelling(metavar="FILE"),
            },
        ),
        "which documents are kept: by default all of them; what is dropped goes into rejects/",
    ),
    _Section(
        "decontaminate",
        OptionTable(
            DecontaminateSettings,
            {"inputs": Spelling("--decontaminate", "PATH")},
            without=("text_key", "document_kind", "ngram_words", "min_words", "action"),
        ),
        "evaluation texts",
    ),
    _Section(
        "deduplicate",
        OptionTable(
            DeduplicateSettings,
            {"kind": Spelling("--deduplicate")},
            without=("shingle_words", "num_bands", "rows_per_band"),
        ),
        "duplicates",
    ),
)


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    for section in SECTIONS:
        section.table.add_to(parser.add_argument_group(section.heading))
    parser.add_argument(
        "--config",
        metavar="FILE.YAML",
        help="sources, read, clean, filter, decontaminate and deduplicate in full; options here take precedence",
    )


def given_sections(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Section of a recipe -> key -> what its option says, None where it was not given."""
    return {section.name: section.table.given(arguments) for section in SECTIONS}


def selection(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """What is read and what is selected of it: the file of --config, with the other options before it."""
    from clozekit.pipelines.settings.corpus_file import build_options, lay_over, load_fields

    fields = load_fields(arguments.config)
    lay_over(fields, given_sections(arguments))
    return build_options(fields)
