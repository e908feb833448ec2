"""`clozekit vocab`: learns a vocabulary from text."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.corpus_options import add_corpus_options, selection
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.cli.options_of_settings import OptionTable
from clozekit.deploy.cli.running_options import add_running_options, running, running_settings
from clozekit.pipelines.settings.vocabulary_settings import VocabularySettings

VOCABULARY = OptionTable(VocabularySettings)
ANSWER = JsonAnswer(("tokenizer", "num_bad_records", "report"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "vocab",
        "Learn a vocabulary from text.",
        "clozekit vocab --input 'docs/*.jsonl' --output tokenizer --vocabulary-size 16000",
        "clozekit vocab --input PATH ... --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
        needs=("pipelines",),
    )
    parser.add_argument("--output", required=True, metavar="DIRECTORY", help="where the tokenizer goes")
    VOCABULARY.add_to(parser.add_argument_group("which vocabulary"))
    add_corpus_options(parser)
    ANSWER.add_to(parser)
    add_running_options(parser)
    parser.set_defaults(run=run, settings_of=settings_of)


def settings_of(arguments: argparse.Namespace) -> tuple[VocabularySettings, Any, Any]:
    """Which vocabulary, what is read, what is selected of it."""
    return VOCABULARY.settings_from(arguments), *selection(arguments)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    options, reading, corpus = settings_of(arguments)
    how = running_settings(arguments)
    check_reachable(urls_in([reading, corpus, arguments.output]))
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.vocabulary import describe_report, make_vocabulary

    _, report, num_bad = make_vocabulary(
        reading,
        arguments.output,
        options,
        corpus=corpus,
        **running(how),
    )
    if arguments.json:
        ANSWER.show(tokenizer=arguments.output, num_bad_records=num_bad, report=report._asdict())
        return
    if num_bad:
        print(f"{num_bad:,} records could not be read and were left out")
    print("\n".join([f"tokenizer        {arguments.output}", *describe_report(report)]))
