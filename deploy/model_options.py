"""The options of the commands that measure, fine-tune and use a model."""

import argparse
from collections.abc import Callable
from typing import Any

MODEL_COMMANDS = ("evaluate", "finetune", "predict")
_PRESET = "a directory, a built-in name (bert_base_en) or a handle (hf://org/model)"
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


def add_model_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    evaluate = command(
        commands,
        "evaluate",
        "Measure a masked LM: loss, accuracy and perplexity on a dataset, or the pseudo-perplexity of texts.",
        "clozekit evaluate run/preset --dataset dataset\n  clozekit evaluate run/preset --texts sentences.txt",
    )
    evaluate.add_argument("preset", metavar="PRESET", help=_PRESET)
    source = evaluate.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--dataset", metavar="DIRECTORY", help="a dataset that `clozekit prepare` wrote: its validation split"
    )
    source.add_argument(
        "--texts", metavar="FILE", help="texts, one a line, each token masked once; - is standard input"
    )
    evaluate.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    evaluate.add_argument("--batch-size", type=int, default=32, help="rows at a time (default: %(default)s)")
    evaluate.add_argument("--max-rows", type=int, default=None, help="rows to look at (default: all of the split)")
    evaluate.add_argument(
        "--mask-rate", type=float, default=0.15, help="share of the tokens to guess (default: %(default)s)"
    )
    evaluate.add_argument("--output", default=None, metavar="FILE", help="write the JSON there too")

    finetune = command(
        commands,
        "finetune",
        "Fine-tune a text classifier on labelled texts or pairs of texts; run again, it goes on where it stopped.",
        "clozekit finetune glue/mrpc init_from=bert_base_en_uncased data.folder=MRPC directory=runs/mrpc\n"
        "  clozekit finetune --init-from run/preset --train train.csv --validation dev.csv --text review --label stars"
        " --directory runs/reviews epochs=5",
    )
    finetune.add_argument(
        "config", nargs="?", metavar="CONFIG.YAML", help="a file or glue/NAME; none where the options say it all"
    )
    finetune.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to the configuration")
    finetune.set_defaults(rest="changes")
    group = finetune.add_argument_group("short for keys of the configuration")
    group.add_argument("--init-from", metavar="PRESET", help=f"the model to start from: {_PRESET}")
    group.add_argument("--directory", help="where everything of the run goes")
    group.add_argument("--train", metavar="FILE", help="labelled texts: .tsv, .csv or .jsonl")
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

    predict = command(
        commands,
        "predict",
        "Classify texts with a fine-tuned preset.",
        'clozekit predict runs/reviews/preset "A film to remember."',
    )
    predict.add_argument("preset", metavar="PRESET", help=_PRESET)
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="texts; with --pairs two by two")
    predict.set_defaults(rest="texts")
    predict.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    predict.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    predict.add_argument(
        "--text-pair-key",
        default=None,
        metavar="NAME",
        help="with --pairs, that of the second text (default: text_pair)",
    )
    predict.add_argument("--pairs", action="store_true", help="texts are pairs; in a file a tab is between the two")
    predict.add_argument("--json", action="store_true", help="one JSON object a text, with all probabilities")
