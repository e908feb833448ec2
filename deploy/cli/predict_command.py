"""`clozekit predict`: classifies texts with a fine-tuned preset."""

import argparse
import dataclasses
import json
from typing import Any

from clozekit.deploy.cli.command import PRESET_HELP, command
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.tokenizers.common.errors import InputError


def add(commands: Any) -> None:
    parser = command(
        commands,
        "predict",
        "Classify texts with a fine-tuned preset.",
        'clozekit predict runs/reviews/preset "A film to remember."',
    )
    parser.add_argument("preset", metavar="PRESET", help=PRESET_HELP)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; with --pairs two by two")
    parser.set_defaults(rest="texts")
    parser.add_argument("--file", default=None, metavar="FILE", help="more texts, one a line; - is the standard input")
    parser.add_argument(
        "--text-key",
        default=None,
        metavar="NAME",
        help="the column or key of the text in a .tsv, .csv or .jsonl file (default: text)",
    )
    parser.add_argument(
        "--text-pair-key",
        default=None,
        metavar="NAME",
        help="with --pairs, that of the second text (default: text_pair)",
    )
    parser.add_argument("--pairs", action="store_true", help="texts are pairs; in a file a tab is between the two")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a text, a line each: text, label, probability, probabilities, or value of a regression",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    firsts, seconds = texts_to_classify(arguments)
    load_tensorflow()
    from clozekit.model.presets.load_presets import open_source
    from clozekit.model.tasks.classify_texts import classify_texts
    from clozekit.model.tasks.text_classifier import TextClassifier

    if open_source(arguments.preset).head_settings(TextClassifier.kind) is None:
        raise InputError(
            f"predictions need a preset with a text classifier, {arguments.preset} has none; make one with `clozekit"
            " finetune`"
        )
    kept = [number for number, row in enumerate(zip(firsts, seconds or firsts, strict=True)) if "".join(row).strip()]
    pairs = None if seconds is None else [seconds[number] for number in kept]
    task = TextClassifier.from_preset(arguments.preset)
    predictions = dict(zip(kept, classify_texts(task, [firsts[number] for number in kept], pairs), strict=True))
    for number, first in enumerate(firsts):
        both = [first, *([seconds[number]] if seconds else [])]
        if number not in predictions:
            # An empty line of a file: nothing is predicted, and the results keep its place.
            named = dict(zip(("text", "text_pair"), both, strict=False))
            print(json.dumps({**named, "label": None}, ensure_ascii=False) if arguments.json else "\t" * len(both))
            continue
        found = predictions[number]
        if arguments.json:
            named = dict(zip(("text", "text_pair"), both, strict=False))
            values = {key: value for key, value in dataclasses.asdict(found).items() if value not in (None, {})}
            print(json.dumps(named | values, ensure_ascii=False))
        else:
            answer = f"{found.value:.4f}" if found.label is None else f"{found.label} {found.probability:.1%}"
            print("\t".join([answer, *both]))


def texts_to_classify(arguments: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    """First and second texts (None without --pairs), of the command line two by two and of the file."""
    from clozekit.deploy.cli.texts_of_files import fill_texts, read_texts

    if not arguments.pairs:
        return fill_texts(arguments.texts, arguments.file, key=arguments.text_key), None
    texts = arguments.texts
    if len(texts) % 2:
        raise InputError(f"with --pairs the texts come two by two, got {len(texts)}; add the other one")
    pairs: list[tuple[str, ...]] = list(zip(texts[::2], texts[1::2], strict=True))
    if arguments.file is not None:
        keys = (arguments.text_key or "text", arguments.text_pair_key or "text_pair")
        pairs += read_texts(arguments.file, "--file", keys, 2)
    if not any("".join(pair).strip() for pair in pairs):
        raise InputError("there must be at least one text, got none; write it behind the preset or pass --file")
    return [first for first, _ in pairs], [second for _, second in pairs]
