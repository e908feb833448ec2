"""`clozekit train`: pretrains a model, and resumes where it stopped."""

import argparse
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import command
from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.json_answer import JsonAnswer, kept_free
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.deploy.recipes import TRAIN, find_recipe

if TYPE_CHECKING:
    from clozekit.deploy.submit.backend import TrainOrder

ANSWER = JsonAnswer(("metrics", "preset", "report"))


def add(commands: Any) -> None:
    parser = command(
        commands,
        "train",
        "Train a model; if it is interrupted, run it again to resume.",
        "clozekit train config.yaml train.steps=2000 optimizer.learning_rate=5e-4",
        needs=("training",),
    )
    parser.add_argument(
        "config",
        nargs="*",
        metavar="CONFIG.YAML KEY=VALUE",
        help="a file or a ready recipe (`clozekit recipes`), none where the changes say it all; and changes to it",
    )
    parser.set_defaults(rest="config")
    what = parser.add_mutually_exclusive_group()
    ANSWER.add_to(what)
    what.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing: show the whole configuration, the parameters, FLOPs and memory, and compile one step",
    )
    parser.set_defaults(run=run)


def train_order(arguments: argparse.Namespace) -> "TrainOrder":
    """What `submit` sends: the arguments of this verb."""
    from clozekit.deploy.submit.backend import TrainOrder

    file, changes = file_and_changes(arguments.config)
    return TrainOrder(None if file is None else find_recipe(file, TRAIN), tuple(changes), arguments.dry_run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.model.training.settings.run_file import load_config
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    order = train_order(arguments)
    config = load_config(order.config, order.changes)
    check_reachable(urls_in(config))

    def join_workers() -> Any:
        from clozekit.model.training.cluster.workers import start_workers

        return start_workers(config.cluster)

    workers = load_tensorflow(join_workers)
    from clozekit.model.training.controller import Run
    from clozekit.model.training.reports.pretraining_report import write_run_report

    if arguments.dry_run:
        from clozekit.model.training.dry_run import dry_run

        for line in dry_run(config, workers):
            print(line, flush=True)
        return
    run = Run(config, workers)
    with kept_free(arguments.json):
        metrics = run.train()
    if not workers.is_chief:
        return
    report = write_run_report(run, metrics)
    if arguments.json:
        ANSWER.show(metrics=metrics, preset=run.preset_directory, report=report)
        return
    if metrics:
        of_pairs = f", of pairs {metrics['pair_accuracy']:.1%}" if "pair_accuracy" in metrics else ""
        if "detection_auc" in metrics:
            of_pairs = f", AUC of replaced tokens {metrics['detection_auc']:.3f}"
        print(
            f"validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f}, accuracy"
            f" {metrics['accuracy']:.1%}{of_pairs}"
        )
    print(f"preset {run.preset_directory}\nreport {report}")
