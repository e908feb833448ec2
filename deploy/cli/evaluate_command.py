"""`clozekit evaluate`: measures a masked LM on a dataset or on texts, a fine-tuned model on examples."""

import argparse
from typing import TYPE_CHECKING, Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.cli.json_answer import json_text
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.tokenizers.common.errors import InputError

if TYPE_CHECKING:
    from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings

# Option -> key of the settings of a fine-tuning's data.
EXAMPLE_KEYS = {"text": "text", "text-pair": "text_pair", "label": "label"}


def add(commands: Any) -> None:
    parser = command(
        commands,
        "evaluate",
        "Measure a masked LM: loss, accuracy and perplexity on a dataset, or the pseudo-perplexity of texts; or a fine-tuned"
        " model on examples.",
        "clozekit evaluate run/preset --dataset dataset\n  clozekit evaluate run/preset --texts sentences.txt\n"
        "  clozekit evaluate runs/reviews/preset --examples test.csv --text review --label stars",
    )
    parser.add_argument("preset", metavar="PRESET", help=PRESET_HELP)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--dataset", metavar="DIRECTORY", help="a dataset that `clozekit prepare` wrote: its validation split"
    )
    source.add_argument(
        "--texts", metavar="FILE", help="texts, one a line, each token masked once; - is standard input"
    )
    parser.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    source.add_argument(
        "--examples", metavar="FILE", help="labelled examples for a fine-tuned model, in a file as `finetune` reads it"
    )
    group = parser.add_argument_group("where the examples stand, as in `finetune`")
    for name, key in EXAMPLE_KEYS.items():
        group.add_argument(f"--{name}", metavar="COLUMN", help=f"data.{key} of a fine-tuning")
    group.add_argument(
        "--format", default="auto", metavar="FORMAT", help="data.format of a fine-tuning (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="rows at a time (default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=None, help="rows to look at (default: all of the split)")
    parser.add_argument(
        "--mask-rate", type=float, default=0.15, help="share of the tokens to guess (default: %(default)s)"
    )
    parser.add_argument("--output", default=None, metavar="FILE", help="write the JSON there too")
    parser.add_argument("--json", action="store_true", help="as it answers anyway: one JSON object on standard output")
    parser.set_defaults(run=run, settings_of=settings_of)


def settings_of(arguments: argparse.Namespace) -> "tuple[EvaluatePresetSettings, dict[str, Any]]":
    """How it is measured, and the columns of the examples."""
    from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings

    options = EvaluatePresetSettings(arguments.batch_size, arguments.max_rows, arguments.mask_rate)
    columns = {key: getattr(arguments, key) for key in EXAMPLE_KEYS.values()}
    if arguments.examples is None and any(value is not None for value in columns.values()):
        given = next(key for key, value in columns.items() if value is not None)
        raise InputError(f"--{given.replace('_', '-')} tells a column of --examples, got it without one; leave it out")
    return options, columns


def run(arguments: argparse.Namespace) -> None:
    options, columns = settings_of(arguments)
    from clozekit.deploy.cli.texts_of_files import fill_texts

    texts = None if arguments.texts is None else fill_texts([], arguments.texts, "--texts", arguments.text_key)
    if arguments.output is not None:
        from clozekit.deploy.cli.result_file import check_result_target

        check_result_target(arguments.output)
    # The measure is one for all texts: an empty line adds nothing to it.
    texts = None if texts is None else [text for text in texts if text.strip()]
    load_tensorflow()
    from clozekit.model.training.evaluate_preset import evaluate_dataset, evaluate_texts

    if arguments.examples is not None:
        from clozekit.model.training.finetuning.evaluate_examples import evaluate_examples
        from clozekit.model.training.settings.finetune_settings import DataSettings

        data = DataSettings(arguments.examples, format=arguments.format, **columns)
        result = evaluate_examples(arguments.preset, data, options.batch_size)
    elif texts is not None:
        result = evaluate_texts(arguments.preset, texts)
    else:
        result = evaluate_dataset(arguments.preset, arguments.dataset, options)
    text = json_text(result)
    if arguments.output is not None:
        from clozekit.tokenizers.storage.file_systems import write_text

        write_text(arguments.output, text + "\n")
    print(text)
