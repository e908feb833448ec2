"""`clozekit export`: a dataset in another format."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.cli.running_options import add_running_options, running, running_settings
from clozekit.pipelines.settings.export_settings import EXPORT_FORMATS

ANSWER = JsonAnswer(("output", "format", "rows", "read_with"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        "Write a dataset in another format: padded TFRecords, Parquet, a folder for TensorFlow Datasets.",
        "clozekit export dataset padded --to padded",
        "clozekit export DATASET DST --to FORMAT [OPTIONS] [-- BEAM OPTIONS]",
        needs=("pipelines",),
    )
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("output", metavar="DST", help="a folder of its own, which appears when it is complete")
    parser.add_argument(
        "--to",
        choices=EXPORT_FORMATS,
        required=True,
        help="padded: fixed-length TFRecords; parquet; tfds: for tensorflow_datasets.builder_from_directory",
    )
    ANSWER.add_to(parser)
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    settings = running_settings(arguments)
    from clozekit.pipelines.export import export_dataset
    from clozekit.pipelines.export_formats import reading_line

    manifest = export_dataset(arguments.dataset, arguments.output, arguments.to, **running(settings))
    rows = {name: split.rows for name, split in manifest.splits.items()}
    line = reading_line(arguments.to, arguments.output, manifest)
    if arguments.json:
        ANSWER.show(output=arguments.output, format=arguments.to, rows=rows, read_with=line)
    else:
        print(f"exported {sum(rows.values()):,} rows to {arguments.output}; read it with\n  {line}")
