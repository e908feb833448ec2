"""The `clozekit` command: its subcommands and their help, one line for what went wrong, exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from clozekit.deploy.model_options import MODEL_COMMANDS, add_model_commands
from clozekit.tokenizers.errors import InputError

EXIT_OK, EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

_READING = "where documents come from"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clozekit",
        description="From raw text to a pretrained masked language model.",
        epilog="Exit status: 0 done; 2 the input or an option breaks a rule (one line says which); 75 `train` was stopped by"
        " SIGTERM or SIGUSR1 and has saved everything, 76 it has lost another worker: in both cases the same command goes"
        " on; 1 any other failure.",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error and the libraries' messages"
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
    )
    _add_reading(vocab)
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
    _add_running(vocab)

    prepare = _command(
        commands,
        "prepare",
        "Turn text into a dataset of packed rows (TFRecord shards and a manifest).",
        "clozekit prepare --input 'docs/*.jsonl' --tokenizer tokenizer --output dataset --sequence-length 256",
    )
    _add_reading(prepare)
    prepare.add_argument(
        "--tokenizer", required=True, metavar="DIRECTORY", help="a tokenizer that `clozekit vocab` made"
    )
    prepare.add_argument("--output", required=True, metavar="DIRECTORY", help="where the dataset goes")
    prepare.add_argument(
        "--sequence-length",
        type=int,
        nargs="+",
        default=[512],
        metavar="N",
        help="tokens a row holds (default: 512); several make a dataset each in one pass, in OUTPUT/128, OUTPUT/512, ...",
    )
    prepare.add_argument(
        "--validation-rate",
        type=float,
        default=0.01,
        help="share of documents kept for validation (default: %(default)s)",
    )
    prepare.add_argument("--seed", type=int, default=0, help="decides the order of the rows (default: %(default)s)")
    prepare.add_argument(
        "--shard-size-mb", type=float, default=64.0, help="size a shard aims at (default: %(default)s)"
    )
    prepare.add_argument("--num-shards", type=int, default=None, help="train shards, in place of --shard-size-mb")
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
    fill.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    fill.add_argument("--top-k", type=int, default=5, help="pieces to show for each mask (default: %(default)s)")
    fill.add_argument("--json", action="store_true", help="one JSON object a text, with ids and probabilities")
    add_model_commands(commands, _command)
    return parser


def _command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
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
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files, globs in quotes, or directories; text or JSON lines, plain or .gz",
    )
    group.add_argument(
        "--input-format",
        choices=["auto", "text", "jsonl"],
        default="auto",
        help="auto: .jsonl and .json are JSON lines, the rest is text (default: %(default)s)",
    )
    group.add_argument(
        "--document",
        choices=["file", "line", "block"],
        default="file",
        help="what one document is in a text file; block: between blank lines (default: %(default)s)",
    )
    group.add_argument(
        "--text-key", default="text", help="field of a JSON line that holds the text (default: %(default)s)"
    )
    group.add_argument(
        "--id-key", default="id", help="field that names the document, if there is one (default: %(default)s)"
    )
    group.add_argument(
        "--max-bad-rate",
        type=float,
        default=0.0,
        help="share of records that may be unreadable and are set aside (default: %(default)s, none)",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--runner", default=None, help="a Beam runner such as DataflowRunner (default: in this process)")
    group.add_argument("--num-workers", type=int, default=1, help="local worker processes (default: %(default)s)")
    group.add_argument("--overwrite", action="store_true", help="replace what an earlier run with other settings left")
    group.add_argument("beam", nargs="*", metavar="-- BEAM OPTIONS", help="options of the runner, behind `--`")


def run_command(arguments: argparse.Namespace) -> None:
    # Loaded here, so that `--help` and a mistyped option answer at once.
    name = "model_commands" if arguments.command in MODEL_COMMANDS else "commands"
    getattr(importlib.import_module(f"clozekit.deploy.{name}"), arguments.command)(arguments)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; what a command takes any number of may also stand behind an option, which argparse alone refuses."""
    parser = build_parser()
    arguments, extra = parser.parse_known_args(argv)
    rest = getattr(arguments, "rest", None)
    if extra and (rest is None or any(argument.startswith("-") for argument in extra)):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    if extra:
        getattr(arguments, str(rest)).extend(extra)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = parse(argv)
    if not arguments.debug:
        # Both are read when TensorFlow is loaded.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        run_command(arguments)
    except InputError as error:
        return _report(f"clozekit {arguments.command}: {error}", arguments.debug, EXIT_INPUT)
    except KeyboardInterrupt:
        return _report(f"clozekit {arguments.command}: interrupted; run it again to go on", False, EXIT_INTERRUPTED)
    except RuntimeError as error:
        # An EarlyEndError of the trainer, which is not loaded for every command.
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        return _report(f"clozekit {arguments.command}: {error}", arguments.debug, status)
    except OSError as error:
        # A full disk, a folder that can't be written: nothing to learn from a traceback.
        return _report(f"clozekit {arguments.command}: {error}", arguments.debug, EXIT_FAILURE)
    return EXIT_OK


def _report(line: str, debug: bool, status: int) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(line, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
