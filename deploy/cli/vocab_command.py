"""`clozekit vocab`: learns a vocabulary from text."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.corpus_options import add_reading_options, add_selecting_options, selection
from clozekit.deploy.cli.running_options import add_running_options, running
from clozekit.tokenizers.common.family_names import FAMILIES


def add(commands: Any) -> None:
    parser = command(
        commands,
        "vocab",
        "Learn a vocabulary from text.",
        "clozekit vocab --input 'docs/*.jsonl' --output tokenizer --vocabulary-size 16000",
        "clozekit vocab --input PATH ... --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
        needs=("pipelines",),
    )
    add_reading_options(parser)
    add_selecting_options(parser)
    parser.add_argument("--output", required=True, metavar="DIRECTORY", help="where the tokenizer goes")
    parser.add_argument(
        "--family",
        choices=list(FAMILIES),
        default="bert",
        help="whose tokenizer to make (default: %(default)s)",
    )
    parser.add_argument(
        "--vocabulary-size", type=int, default=30_522, help="pieces to learn at most (default: %(default)s)"
    )
    parser.add_argument(
        "--lowercase",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="lower-case the text (default: as the first models of the family were)",
    )
    parser.add_argument(
        "--alphabet-size",
        type=int,
        default=None,
        metavar="N",
        help="characters that are pieces at most, for bert and distil_bert (default: 1,000, and more where the corpus has more and there is room)",
    )
    parser.add_argument(
        "--character-coverage",
        type=float,
        default=None,
        metavar="RATE",
        help="share of the text whose characters are pieces, for albert and xlm_roberta (default: 0.9995)",
    )
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings

    options = VocabularySettings(
        arguments.family,
        arguments.vocabulary_size,
        arguments.lowercase,
        arguments.alphabet_size,
        arguments.character_coverage,
    )
    reading, corpus = selection(arguments)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.vocabulary import describe_report, make_vocabulary

    _, report, num_bad = make_vocabulary(
        reading,
        arguments.output,
        options,
        corpus=corpus,
        overwrite=arguments.overwrite,
        **running(arguments),
    )
    if num_bad:
        print(f"{num_bad:,} records could not be read and were left out")
    print("\n".join([f"tokenizer        {arguments.output}", *describe_report(report)]))
