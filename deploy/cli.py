"""The `clozekit` command: its subcommands and their help, one line for what went wrong, exit codes."""

import argparse
import importlib
import importlib.metadata
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from clozekit.deploy.argument_rules import check_arguments, check_words
from clozekit.deploy.cloud_options import CLOUD_COMMANDS, add_cloud_commands
from clozekit.deploy.interruption import Interruption
from clozekit.deploy.model_options import MODEL_COMMANDS, add_model_commands
from clozekit.deploy.submit_options import add_submit, split_remote
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.quiet_libraries import DEBUG

EXIT_OK, EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

_READING = "where documents come from"
# Tried against Beam's parser by tests/pipelines/test_engines.py, as they stand here and in the README.
_OTHER_RUNNERS = """\
on Flink and Dataflow, with paths that every worker can reach and Clozekit installed in the workers' image (never run
there; the options were checked against Beam's own parser):
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner FlinkRunner -- --flink_master=HOST:8081 --flink_version=1.20 --parallelism=16 \\
      --environment_type=EXTERNAL --environment_config=localhost:50000
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner DataflowRunner -- --project=P --region=R --temp_location=gs://B/temp --staging_location=gs://B/staging \\
      --sdk_container_image=IMAGE --sdk_location=container --max_num_workers=50 --machine_type=n2-standard-4 \\
      --no_save_main_session"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clozekit",
        description="From raw text to a pretrained masked language model.",
        epilog="Exit status: 0 done; 2 the input or an option breaks a rule (one line says which); 130 interrupted by"
        " Ctrl-C, 143 stopped by SIGTERM; 75 `train` was stopped by SIGTERM or SIGUSR1 and has saved everything, 76 it has"
        " lost another worker: in all these cases the same command goes on; `submit`: 65 refused, 66 bucket, 69 out of reach, 73 name taken, 77 credentials, 78 project, region or zone;"
        " 1 any other failure.",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error and the libraries' messages"
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"clozekit {importlib.metadata.version('clozekit')}",
        help="say the version",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(
        commands, "demo", "Corpus, vocabulary, dataset, training, filled masks: everything once.", "clozekit demo"
    )
    demo.add_argument("--directory", default="clozekit-demo", help="where everything goes (default: %(default)s)")
    demo.add_argument(
        "--steps", type=int, default=None, help="training steps, to look around sooner (default: the full demo)"
    )

    vocab = _command(
        commands,
        "vocab",
        "Learn a vocabulary from text.",
        "clozekit vocab --input 'docs/*.jsonl' --output tokenizer --vocabulary-size 16000",
        "clozekit vocab --input PATH ... --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
    )
    _add_reading(vocab)
    _add_selecting(vocab)
    vocab.add_argument("--output", required=True, metavar="DIRECTORY", help="where the tokenizer goes")
    vocab.add_argument(
        "--family",
        choices=["bert", "roberta", "albert", "xlm_roberta"],
        default="bert",
        help="whose tokenizer to make (default: %(default)s)",
    )
    vocab.add_argument(
        "--vocabulary-size", type=int, default=30_522, help="pieces to learn at most (default: %(default)s)"
    )
    vocab.add_argument(
        "--lowercase",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="lower-case the text (default: for bert and albert)",
    )
    vocab.add_argument(
        "--alphabet-size",
        type=int,
        default=None,
        metavar="N",
        help="characters that are pieces at most, for bert (default: 1,000, and more where the corpus has more and there is room)",
    )
    vocab.add_argument(
        "--character-coverage",
        type=float,
        default=None,
        metavar="RATE",
        help="share of the text whose characters are pieces, for albert and xlm_roberta (default: 0.9995)",
    )
    _add_running(vocab)

    prepare = _command(
        commands,
        "prepare",
        "Turn text into a dataset of packed rows (TFRecord shards and a manifest).",
        "clozekit prepare --input 'docs/*.jsonl' --tokenizer tokenizer --output dataset --sequence-length 256\n"
        "  clozekit prepare --source 'web=crawl/*.jsonl.zst:0.5' --source 'books=books/:2' --clean --quality gopher \\\n"
        "      --language en --deduplicate near --decontaminate benchmark.jsonl --tokenizer tokenizer --output dataset\n\n"
        + _OTHER_RUNNERS,
        # The list of every option would fill the screen before the first word of help.
        "clozekit prepare --input PATH ... --tokenizer DIRECTORY --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
    )
    prepare.add_argument(
        "--tokenizer", required=True, metavar="DIRECTORY", help="a tokenizer that `clozekit vocab` made"
    )
    prepare.add_argument("--output", required=True, metavar="DIRECTORY", help="where the dataset goes")
    _add_reading(prepare)
    _add_selecting(prepare)
    rows = prepare.add_argument_group("rows and shards")
    rows.add_argument(
        "--sequence-length",
        type=int,
        nargs="+",
        default=[512],
        metavar="N",
        help="tokens a row holds (default: 512); several make a dataset each in one pass, in OUTPUT/128, OUTPUT/512, ...",
    )
    rows.add_argument(
        "--validation-rate",
        type=float,
        default=0.01,
        help="share of documents kept for validation, twins only all together (default: %(default)s)",
    )
    rows.add_argument("--seed", type=int, default=0, help="decides the order of the rows (default: %(default)s)")
    rows.add_argument("--shard-size-mb", type=float, default=64.0, help="size a shard aims at (default: %(default)s)")
    rows.add_argument("--num-shards", type=int, default=None, help="train shards, in place of --shard-size-mb")
    rows = prepare.add_argument_group("how documents become rows")
    rows.add_argument(
        "--long-documents",
        choices=["tokens", "sentences", "drop"],
        default="tokens",
        help="cut those longer than a row into full rows, cut them between sentences, or drop them (default: %(default)s)",
    )
    rows.add_argument(
        "--packing",
        choices=["best_fit", "none"],
        default="best_fit",
        help="none: one document a row; with several lengths each goes to the shortest that holds it (default: %(default)s)",
    )
    rows.add_argument(
        "--max-documents-per-row", type=int, default=None, metavar="N", help="documents packed together at most"
    )
    rows.add_argument(
        "--pairs",
        choices=["none", "next", "order"],
        default="none",
        help="sentence pairs: next, half with a second sentence of another document (BERT); order, half swapped (ALBERT)",
    )
    _add_running(prepare)

    inspect = _command(commands, "inspect", "Say what a dataset holds.", "clozekit inspect dataset --rows 2")
    inspect.add_argument("dataset", metavar="DATASET")
    inspect.add_argument("--rows", type=int, default=3, help="rows to show decoded (default: %(default)s)")
    inspect.add_argument(
        "--tokenizer", default=None, metavar="DIRECTORY", help="decode with this one (default: the dataset's)"
    )

    verify = _command(
        commands,
        "verify",
        "Check every byte of a dataset: hashes, counts, records, ids, lengths; a line for each problem.",
        "clozekit verify gs://bucket/dataset",
    )
    verify.add_argument("dataset", metavar="DATASET", help="a directory or any fsspec URL")

    export = _command(
        commands,
        "export",
        "Write a dataset in another format: padded TFRecords, Parquet, a folder for TensorFlow Datasets.",
        "clozekit export dataset padded --to padded",
        "clozekit export DATASET DST --to FORMAT [OPTIONS] [-- BEAM OPTIONS]",
    )
    export.add_argument("dataset", metavar="DATASET")
    export.add_argument("output", metavar="DST", help="a folder of its own, which appears when it is complete")
    export.add_argument(
        "--to",
        choices=["padded", "parquet", "tfds"],
        required=True,
        help="padded: fixed-length TFRecords; parquet; tfds: for tensorflow_datasets.builder_from_directory",
    )
    _add_running(export)

    train = _command(
        commands,
        "train",
        "Train a model; run again, it goes on where it stopped.",
        "clozekit train config.yaml train.steps=2000 optimizer.learning_rate=5e-4",
    )
    train.add_argument("config", metavar="CONFIG.YAML")
    train.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the configuration")
    train.set_defaults(rest="changes")
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing: show the whole configuration, the parameters, FLOPs and memory, and compile one step",
    )

    convert = _command(
        commands,
        "convert",
        "Turn a preset into another library's, or into a SavedModel.",
        "clozekit convert hf://google-bert/bert-base-uncased bert-base --to clozekit",
    )
    convert.add_argument(
        "source", metavar="SRC", help="a directory, a built-in name (bert_base_en) or a handle (hf://org/model)"
    )
    convert.add_argument(
        "target", metavar="DST", help="where it goes: a new directory, an old preset, or a URL (gs://)"
    )
    convert.add_argument(
        "--to",
        choices=["clozekit", "keras_hub", "huggingface", "saved_model"],
        required=True,
        help="clozekit: a preset of ours; keras_hub: the same, refused where KerasHub would compute something else;"
        " huggingface: config.json and model.safetensors for transformers; saved_model: TensorFlow's, which takes ids, and"
        " strings where the tokenizer can be in a graph (albert, xlm_roberta; bert's and roberta's run in Python)",
    )

    fill = _command(
        commands, "fill", "Fill the masks of a text.", 'clozekit fill clozekit-demo/preset "The [MASK] of the list."'
    )
    fill.add_argument(
        "preset", metavar="PRESET", help="a directory, a built-in name (bert_base_en) or a handle (hf://org/model)"
    )
    fill.add_argument("texts", nargs="*", metavar="TEXT", help="text with one or more mask tokens of the preset in it")
    fill.set_defaults(rest="texts")
    fill.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    fill.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    fill.add_argument("--top-k", type=int, default=5, help="pieces to show for each mask (default: %(default)s)")
    fill.add_argument("--json", action="store_true", help="one JSON object a text, with ids and probabilities")
    add_model_commands(commands, _command)
    add_cloud_commands(commands, _command)
    add_submit(commands, _command)
    return parser


def _command(commands: Any, name: str, summary: str, example: str, usage: str | None = None) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        usage=usage,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # `clozekit vocab --debug` as well as `clozekit --debug vocab`.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(_READING)
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
        choices=["auto", "text", "jsonl", "csv", "tsv", "parquet", "tfrecord", "warc"],
        help="default: auto, by the suffix; what has no known one is text",
    )
    group.add_argument(
        "--document",
        choices=["file", "line", "block"],
        help="what one document is in a text file; block: between blank lines (default: file)",
    )
    group.add_argument(
        "--quoting",
        choices=["auto", "double", "none"],
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


def _add_selecting(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "which documents, and how clean", "By default every document as it is. What is dropped is kept in rejects/."
    )
    group.add_argument(
        "--config",
        metavar="FILE.YAML",
        help="sources, read, clean, filter, decontaminate and deduplicate in full; options here come before it",
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
    group.add_argument(
        "--mask", nargs="+", choices=["email", "ip", "phone"], help="personal data to replace, as in <email>"
    )
    group.add_argument(
        "--quality",
        nargs="+",
        choices=["gopher", "gopher-repetition", "c4"],
        help="sets of rules to keep to (pipelines/corpus_options.py)",
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
    twins = parser.add_argument_group("duplicates and evaluation texts")
    twins.add_argument(
        "--deduplicate",
        choices=["none", "exact", "near"],
        help="exact: but for case and white space; near: MinHash too (default: none); see duplicates/",
    )
    twins.add_argument(
        "--min-similarity",
        type=float,
        metavar="RATE",
        help="near: the Jaccard similarity of runs of 5 words that twins have, compared exactly; 0: all that MinHash finds"
        " (default: 0.75)",
    )
    twins.add_argument(
        "--decontaminate",
        nargs="+",
        metavar="PATH",
        help="drop documents that share 13 words in a row with these texts (a line or record each); see contaminated/",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--runner", default=None, help="a Beam runner such as DataflowRunner (default: in this process)")
    group.add_argument("--num-workers", type=int, default=1, help="local worker processes (default: %(default)s)")
    group.add_argument("--overwrite", action="store_true", help="replace what an earlier run with other settings left")
    group.add_argument("beam", nargs="*", metavar="-- BEAM OPTIONS", help="options of the runner, behind `--`")


def run_command(arguments: argparse.Namespace) -> None:
    # Loaded here, so that `--help` and a mistyped option answer at once.
    names = {**dict.fromkeys(MODEL_COMMANDS, "model_commands"), **dict.fromkeys(CLOUD_COMMANDS, "cloud_commands")}
    name = names.get(arguments.command, "commands")
    if arguments.command == "submit":
        name = "submit"
    getattr(importlib.import_module(f"clozekit.deploy.{name}"), arguments.command)(arguments)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; what a command takes any number of may also stand behind an option, which argparse alone refuses."""
    parser = build_parser()
    given = sys.argv[1:] if argv is None else argv
    check_words(given)
    words, remote = split_remote(given)
    arguments, extra = parser.parse_known_args(words)
    arguments.remote = remote
    rest = getattr(arguments, "rest", None)
    if extra and (rest is None or any(argument.startswith("-") for argument in extra)):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    if extra:
        getattr(arguments, str(rest)).extend(extra)
    check_arguments(arguments)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    with Interruption() as interruption:
        try:
            line, status = _run(argv, interruption)
        except (Exception, KeyboardInterrupt):
            # Whatever a library makes of a signal, the signal is the reason.
            if interruption.received is None:
                raise
            line, status = "", interruption.status
        if interruption.received is not None:
            return interruption.finish()
        if line:
            print(line, file=sys.stderr)
        return status


def _run(argv: Sequence[str] | None, interruption: Interruption) -> tuple[str, int]:
    """Runs the command; returns the line that says what went wrong ("" where nothing did) and the exit status."""
    try:
        arguments = parse(argv)
    except InputError as error:
        given = sys.argv[1:] if argv is None else argv
        name = next((word for word in given if not word.startswith("-")), "")
        return f"clozekit {name}: {error}".replace(" :", ":"), EXIT_INPUT
    name = interruption.command = f"clozekit {arguments.command}"
    interruption.debug = arguments.debug
    interruption.has_workers = getattr(arguments, "num_workers", 1) != 1
    if arguments.command == "train":
        interruption.handle(signal.SIGUSR1)
    if not arguments.debug:
        # Before gRPC is loaded, by Beam too.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    before = os.environ.get(DEBUG)
    if arguments.debug:
        os.environ[DEBUG] = "1"
    try:
        run_command(arguments)
    except KeyboardInterrupt:
        return f"{name}: interrupted; run it again to go on", EXIT_INTERRUPTED
    except Exception as error:
        line, status = _line_of(error)
        if line is None:
            raise
        if arguments.debug:
            traceback.print_exc()
        return f"{name}: {line}", status
    finally:
        if before is None:
            os.environ.pop(DEBUG, None)
    return "", EXIT_OK


def _line_of(error: Exception) -> tuple[str | None, int]:
    """What an error is to a user, in one line, and the exit status; no line where only a traceback says it."""
    if isinstance(error, InputError):
        return str(error), EXIT_INPUT
    # An EarlyEndError of the trainer, which is not loaded for every command.
    status = getattr(error, "exit_status", None)
    if isinstance(error, RuntimeError) and status is not None:
        return str(error), status
    if isinstance(error, OSError) and error.strerror:
        # A full disk, a folder that can't be written: nothing to learn from a traceback.
        return str(error), EXIT_FAILURE
    # Its import takes a while, and few need it.
    from clozekit.deploy.storage_errors import refusal

    line = refusal(error)
    return (str(error) if line is None and isinstance(error, OSError) else line), EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
