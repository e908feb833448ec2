"""`clozekit fill`: fills the masks of texts."""

import argparse
import dataclasses
import json
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.guesses import show_guesses
from clozekit.deploy.quiet_loading import load_tensorflow


def add(commands: Any) -> None:
    parser = command(
        commands, "fill", "Fill the masks of a text.", 'clozekit fill clozekit-demo/preset "The [MASK] of the list."'
    )
    parser.add_argument("preset", metavar="PRESET", help=PRESET_HELP)
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="text with one or more mask tokens of the preset in it"
    )
    parser.set_defaults(rest="texts")
    parser.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    parser.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    parser.add_argument("--top-k", type=int, default=5, help="pieces to show for each mask (default: %(default)s)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a text, a line each: text, masks (of each mask the best pieces with ids and probabilities)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.cli.texts_of_files import fill_texts

    texts = fill_texts(arguments.texts, arguments.file, key=arguments.text_key)
    load_tensorflow()
    from clozekit.model.presets.trained_masked_lm import load_masked_lm

    task = load_masked_lm(arguments.preset)
    # An empty line of a file has no masks, and a line of results.
    filled = iter(task.fill_mask([text for text in texts if text.strip()], arguments.top_k))
    for text in texts:
        guesses = next(filled) if text.strip() else []
        if arguments.json:
            masks = [[dataclasses.asdict(guess) for guess in best] for best in guesses]
            print(json.dumps({"text": text, "masks": masks}, ensure_ascii=False))
        else:
            print("\n".join(show_guesses(text, guesses)))
