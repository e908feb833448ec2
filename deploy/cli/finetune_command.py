"""`clozekit finetune`: trains a classifier, a tagger, an answerer or an embedder from a preset."""

import argparse
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.file_and_changes import file_and_changes
from clozekit.deploy.cli.json_answer import JsonAnswer, kept_free
from clozekit.deploy.quiet_loading import load_tensorflow

ANSWER = JsonAnswer(("best_step", "metric", "metrics", "preset", "report"))
# Option -> key of the configuration.
FINETUNE_KEYS = {
    "init_from": "init_from",
    "directory": "directory",
    "train": "data.train",
    "validation": "data.validation",
    "test": "data.test",
    "text": "data.text",
    "text_pair": "data.text_pair",
    "label": "data.label",
}


def add(commands: Any) -> None:
    parser = command(
        commands,
        "finetune",
        "Fine-tune a model on examples: labelled texts or pairs of texts, tagged words, questions, pairs for embeddings"
        " (task=...); if interrupted, run it again to resume.",
        "clozekit finetune glue/mrpc init_from=bert_base_en_uncased data.folder=MRPC directory=runs/mrpc\n"
        "  clozekit finetune --init-from run/preset --train train.csv --validation dev.csv --text review --label stars"
        " --directory runs/reviews train.epochs=5\n"
        "  clozekit finetune --init-from run/preset --train train.conll --directory runs/names task=token_classification",
        needs=("training",),
    )
    parser.add_argument(
        "config",
        nargs="*",
        metavar="CONFIG.YAML KEY=VALUE",
        help="a file or glue/NAME, none where the rest says it all; and changes to it",
    )
    parser.set_defaults(rest="config")
    group = parser.add_argument_group("short for keys of the configuration")
    group.add_argument("--init-from", metavar="PRESET", help=f"the model to start from: {PRESET_HELP}")
    group.add_argument("--directory", help="where everything of the run goes")
    group.add_argument(
        "--train", metavar="FILE", help="examples: .tsv, .csv or .jsonl; .conll for tagged words, .json for questions"
    )
    group.add_argument(
        "--validation",
        metavar="FILE",
        action="append",
        help="the same, to measure on; given again, the first one decides",
    )
    group.add_argument("--test", metavar="FILE", action="append", help="texts to predict, without labels")
    group.add_argument("--text", metavar="COLUMN", help="the column of the texts: its name, or its number from 0")
    group.add_argument("--text-pair", metavar="COLUMN", help="the column of the second text, for pairs")
    group.add_argument("--label", metavar="COLUMN", help="the column of the labels")
    ANSWER.add_to(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.model.training.settings.finetune_settings import load_finetune_config
    from clozekit.tokenizers.storage.reachable import check_reachable, urls_in

    config = load_finetune_config(*file_and_changes(arguments.config), options_as_keys(arguments))
    check_reachable(urls_in(config))

    def join_workers() -> Any:
        from clozekit.model.training.cluster.workers import start_workers

        return start_workers(config.cluster)

    workers = load_tensorflow(join_workers)
    from clozekit.model.training.finetuning.finetune import FinetuneRun
    from clozekit.model.training.reports.finetune_report import write_finetune_report

    run = FinetuneRun(config, workers)
    with kept_free(arguments.json):
        if workers.is_chief:
            if run.data.num_skipped:
                print(f"{run.data.num_skipped:,} bad rows were left out (data.skip_bad_rows)")
            print(run.summary)
        result = run.train()
    if not workers.is_chief:
        return
    report = write_finetune_report(run, result)
    if arguments.json:
        ANSWER.show(**result, preset=run.preset_directory, report=report)
        return
    for split, metrics in result["metrics"].items():
        print(f"{split}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    print(f"best step {result['best_step']:,}\npreset {run.preset_directory}\nreport {report}")


def options_as_keys(arguments: argparse.Namespace) -> dict[str, Any]:
    """Dotted key -> value of the options that were given."""
    given = {key: getattr(arguments, option) for option, key in FINETUNE_KEYS.items()}
    return {key: value for key, value in given.items() if value is not None}
