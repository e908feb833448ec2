"""`clozekit prepare`: text into a dataset of packed rows."""

import argparse
import dataclasses
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.corpus_options import add_reading_options, add_selecting_options, selection
from clozekit.deploy.cli.running_options import add_running_options, running

# Tried against Beam's parser by tests/pipelines/running/test_engines.py, as they stand here and in the README.
OTHER_RUNNERS = """\
on Flink and Dataflow, with paths that every worker can reach and Clozekit installed in the workers' image (never run
there; the options were checked against Beam's own parser):
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner FlinkRunner -- --flink_master=HOST:8081 --flink_version=1.20 --parallelism=16 \\
      --environment_type=EXTERNAL --environment_config=localhost:50000
  clozekit prepare --input 'gs://B/docs/*.jsonl' --tokenizer tokenizer --output gs://B/dataset \\
      --runner DataflowRunner -- --project=P --region=R --temp_location=gs://B/temp --staging_location=gs://B/staging \\
      --sdk_container_image=IMAGE --sdk_location=container --max_num_workers=50 --machine_type=n2-standard-4 \\
      --no_save_main_session"""


def add(commands: Any) -> None:
    parser = command(
        commands,
        "prepare",
        "Turn text into a dataset of packed rows (TFRecord shards and a manifest).",
        "clozekit prepare --input 'docs/*.jsonl' --tokenizer tokenizer --output dataset --sequence-length 256\n"
        "  clozekit prepare --source 'web=crawl/*.jsonl.zst:0.5' --source 'books=books/:2' --clean --quality gopher \\\n"
        "      --language en --deduplicate near --decontaminate benchmark.jsonl --tokenizer tokenizer --output dataset\n\n"
        + OTHER_RUNNERS,
        # The list of every option would fill the screen before the first word of help.
        "clozekit prepare --input PATH ... --tokenizer DIRECTORY --output DIRECTORY [OPTIONS] [-- BEAM OPTIONS]",
    )
    parser.add_argument(
        "--tokenizer", required=True, metavar="DIRECTORY", help="a tokenizer that `clozekit vocab` made"
    )
    parser.add_argument("--output", required=True, metavar="DIRECTORY", help="where the dataset goes")
    add_reading_options(parser)
    add_selecting_options(parser)
    rows = parser.add_argument_group("rows and shards")
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
    rows = parser.add_argument_group("how documents become rows")
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
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    reading, corpus, options = prepare_settings(arguments)
    for length in arguments.sequence_length:
        dataclasses.replace(options, sequence_length=length)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.dataset.build_report import REPORT_FILE
    from clozekit.pipelines.dataset.describe import describe_manifest
    from clozekit.pipelines.prepare import prepare_lengths
    from clozekit.pipelines.storage.files import join

    results = prepare_lengths(
        reading,
        options,
        arguments.sequence_length,
        arguments.tokenizer,
        arguments.output,
        overwrite=arguments.overwrite,
        corpus=corpus,
        **running(arguments),
    )
    for directory, (manifest, built) in results.items():
        if not built:
            print("already prepared from these inputs with these settings; nothing to do")
        print("\n".join([*describe_manifest(manifest, directory), "", f"report    {join(directory, REPORT_FILE)}"]))


def prepare_settings(arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """What `prepare` reads, what it selects of it, and how it makes rows."""
    from clozekit.pipelines.settings.prepare_settings import PrepareSettings

    options = PrepareSettings(
        validation_rate=arguments.validation_rate,
        seed=arguments.seed,
        shard_size_mb=arguments.shard_size_mb,
        num_shards=arguments.num_shards,
        long_documents=arguments.long_documents,
        pairs=arguments.pairs,
        packing=arguments.packing,
        max_documents_per_row=arguments.max_documents_per_row,
    )
    return *selection(arguments), options
