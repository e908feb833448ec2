"""`clozekit compare`: runs side by side, as a table on the screen and as a page with their curves."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.json_answer import JsonAnswer
from clozekit.deploy.quiet_loading import load_tensorflow

ANSWER = JsonAnswer(("runs", "settings", "page"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "compare",
        "Compare runs: losses, tokens, time, cost, the settings that differ; running and stopped ones too.",
        "clozekit compare runs/a runs/b --loss 3.0\n  clozekit compare runs/* --page comparison.html",
        needs=("training",),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directories of runs, of `train` or of `finetune`")
    parser.add_argument(
        "--loss", type=float, metavar="NUMBER", help="also say when each run first measured this validation loss"
    )
    parser.add_argument(
        "--page", metavar="FILE.HTML", help="write one HTML page with the curves over steps, tokens and time"
    )
    ANSWER.add_to(parser)
    parser.set_defaults(run=run, rest="runs")


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from clozekit.deploy.cli.result_file import check_own_file
    from clozekit.model.training.reports.compare_runs import compared, differences, rows_of
    from clozekit.model.training.reports.comparison_report import TITLE, render_comparison
    from clozekit.model.training.run_directory.run_state import read_run
    from clozekit.tokenizers.storage.file_systems import write_text

    runs = [read_run(directory) for directory in dict.fromkeys(one.rstrip("/") for one in arguments.runs)]
    numbers = compared(runs, arguments.loss)
    settings = differences(runs)
    if arguments.page is not None:
        check_own_file(
            "--page", "a page", arguments.page, "compare", lambda text: f"<title>{TITLE}</title>" in text[:1000]
        )
        write_text(arguments.page, render_comparison(runs, numbers, arguments.loss))
    if arguments.json:
        values = {key: dict(zip([one.name for one in numbers], row, strict=True)) for key, row in settings.items()}
        ANSWER.show(runs=[dataclasses.asdict(one) for one in numbers], settings=values, page=arguments.page)
        return
    table = [("", [one.name for one in numbers]), *rows_of(numbers, arguments.loss)]
    if settings:
        table += [("", [""] * len(numbers)), ("settings that differ", [""] * len(numbers)), *settings.items()]
    print("\n".join(in_columns(table)))
    if not settings:
        print("their settings are the same")
    if arguments.page is not None:
        print(f"page {arguments.page}")


def in_columns(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines of a table whose first column is on the left and whose others are on the right."""
    first = max(len(what) for what, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(values for _, values in rows), strict=True)]
    return [
        "  ".join(
            [f"{what:<{first}}", *(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))]
        ).rstrip()
        for what, values in rows
    ]
