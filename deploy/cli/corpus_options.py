"""The options of `vocab` and `prepare` that say what is read and what is selected of it, and their settings."""

import argparse
from typing import Any

from clozekit.pipelines.settings.corpus_settings import DUPLICATE_KINDS, MASK_KINDS, RULE_SETS
from clozekit.pipelines.settings.prepare_settings import DOCUMENT_KINDS, INPUT_FORMATS
from clozekit.pipelines.text_files.delimited import QUOTING


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where documents come from")
    group.add_argument(
        "--input",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files, globs in quotes, or directories: text, JSON lines, CSV, TSV, Parquet, TFRecord, WARC or WET; plain,"
        " .gz, .bz2 or .zst",
    )
    group.add_argument(
        "--source",
        action="append",
        metavar="NAME=PATH[:WEIGHT]",
        help="one part of a mixture; weight 0.5 takes half of its documents, 2 each twice; the first source is preferred"
        " among duplicates",
    )
    group.add_argument(
        "--input-format",
        choices=INPUT_FORMATS,
        help="default: auto, by the suffix; what has no known one is text",
    )
    group.add_argument(
        "--document",
        choices=DOCUMENT_KINDS,
        help="what one document is in a text file; block: between blank lines (default: file)",
    )
    group.add_argument(
        "--quoting",
        choices=QUOTING,
        help="whether quotation marks enclose cells or are text (default: auto, they enclose in CSV, are text in TSV)",
    )
    group.add_argument("--text-key", help="field, column or feature that holds the text (default: text)")
    group.add_argument("--id-key", help="the one that names the document, if there is one (default: id)")
    group.add_argument(
        "--max-document-mb", type=float, help="a longer record is a bad one, set aside unread (default: 32)"
    )
    group.add_argument(
        "--max-bad-rate",
        type=float,
        help="share of records that may be bad and are set aside in deadletter/ (default: 0, none)",
    )


def add_selecting_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "which documents, and how clean", "By default every document as it is. What is dropped is kept in rejects/."
    )
    group.add_argument(
        "--config",
        metavar="FILE.YAML",
        help="sources, read, clean, filter, decontaminate and deduplicate in full; options here take precedence",
    )
    group.add_argument(
        "--clean",
        action="store_true",
        default=None,
        help="Unicode NFC, line feeds, no control or invisible characters",
    )
    group.add_argument(
        "--fix-encoding", action="store_true", default=None, help="undo wrong charsets (cafÃ© -> café), by ftfy"
    )
    group.add_argument(
        "--drop-boilerplate", action="store_true", default=None, help="drop lines about cookies, terms and the like"
    )
    group.add_argument("--mask", nargs="+", choices=MASK_KINDS, help="personal data to replace, as in <email>")
    group.add_argument(
        "--quality",
        nargs="+",
        choices=list(RULE_SETS),
        help="sets of rules to keep to, as their papers have them",
    )
    group.add_argument(
        "--rule",
        nargs="+",
        action="extend",
        metavar="TAG=LEAST..MOST",
        help="a rule of your own, or another bound of one of the sets: num_words=20.. mean_word_length=3..12",
    )
    group.add_argument(
        "--bad-words", metavar="FILE", help="words, one a line, that no document may hold; Clozekit ships no such list"
    )
    group.add_argument("--language", nargs="+", metavar="CODE", help="languages to keep: en de")
    group.add_argument(
        "--keep-tags", metavar="DIRECTORY", help="keep what the rules look at, so that other bounds take no new look"
    )
    duplicates = parser.add_argument_group("duplicates and evaluation texts")
    duplicates.add_argument(
        "--deduplicate",
        choices=DUPLICATE_KINDS,
        help="exact: but for case and white space; near: MinHash too (default: none); see duplicates/",
    )
    duplicates.add_argument(
        "--min-similarity",
        type=float,
        metavar="RATE",
        help="near: the Jaccard similarity from which documents are duplicates, of runs of 5 words, compared exactly; 0: all that MinHash finds"
        " (default: 0.75)",
    )
    duplicates.add_argument(
        "--decontaminate",
        nargs="+",
        metavar="PATH",
        help="drop documents that share 13 words in a row with these texts (a line or record each); see contaminated/",
    )


def given_sections(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Section of a recipe -> key -> what its option says, None where it was not given."""
    from clozekit.pipelines.settings.corpus_file import parse_rule, parse_source

    return {
        "read": {
            "inputs": arguments.input,
            "sources": arguments.source and tuple(map(parse_source, arguments.source)),
            "input_format": arguments.input_format,
            "document_kind": arguments.document,
            "quoting": arguments.quoting,
            "text_key": arguments.text_key,
            "id_key": arguments.id_key,
            "max_document_mb": arguments.max_document_mb,
            "max_bad_rate": arguments.max_bad_rate,
        },
        "clean": {
            "unicode": arguments.clean,
            "fix_encoding": arguments.fix_encoding,
            "boilerplate_lines": arguments.drop_boilerplate,
            "mask": arguments.mask,
        },
        "filter": {
            "rule_sets": arguments.quality,
            "rules": arguments.rule and dict(map(parse_rule, arguments.rule)),
            "languages": arguments.language,
            "tags": arguments.keep_tags,
            "bad_words": arguments.bad_words,
        },
        "decontaminate": {"inputs": arguments.decontaminate},
        "deduplicate": {"kind": arguments.deduplicate, "min_similarity": arguments.min_similarity},
    }


def selection(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """What is read and what is selected of it: the file of --config, with the other options before it."""
    from clozekit.pipelines.settings.corpus_file import build_options, lay_over, load_fields

    fields = load_fields(arguments.config)
    lay_over(fields, given_sections(arguments))
    return build_options(fields)
