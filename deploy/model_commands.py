"""What the commands that measure, fine-tune and use a model do: options into settings, the work, results."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from clozekit.deploy.commands import fill_texts
from clozekit.deploy.model_options import FINETUNE_KEYS
from clozekit.deploy.quiet import load_tensorflow
from clozekit.deploy.result_file import check_result_target
from clozekit.tokenizers.errors import InputError
from clozekit.tokenizers.file_systems import write_text


def evaluate(arguments: argparse.Namespace) -> None:
    texts = None if arguments.texts is None else fill_texts([], arguments.texts, "--texts", arguments.text_key)
    if arguments.output is not None:
        check_result_target(arguments.output)
    # The measure is one for all texts: an empty line adds nothing to it.
    texts = None if texts is None else [text for text in texts if text.strip()]
    from clozekit.model.training.evaluate_options import EvaluateOptions

    options = EvaluateOptions(arguments.batch_size, arguments.max_rows, arguments.mask_rate)
    load_tensorflow()
    from clozekit.model.training.evaluate_preset import evaluate_dataset, evaluate_texts

    if texts is not None:
        result = evaluate_texts(arguments.preset, texts)
    else:
        result = evaluate_dataset(arguments.preset, arguments.dataset, options)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    if arguments.output is not None:
        write_text(arguments.output, text + "\n")
    print(text)


def finetune(arguments: argparse.Namespace) -> None:
    name, changes = arguments.config, list(arguments.changes)
    if name is not None and "=" in name and not Path(name).exists():
        # No file was named: the first change stands in its place.
        name, changes = None, [name, *changes]
    from clozekit.model.training.finetune_config import load_finetune_config

    config = load_finetune_config(name, changes, options_as_keys(arguments))
    load_tensorflow()
    from clozekit.model.training.finetune import FinetuneRun
    from clozekit.model.training.finetune_report import write_finetune_report

    run = FinetuneRun(config)
    if run.data.num_skipped:
        print(f"{run.data.num_skipped:,} bad rows were left out (data.skip_bad_rows)")
    print(run.summary)
    result = run.train()
    report = write_finetune_report(run, result)
    for split, metrics in result["metrics"].items():
        print(f"{split}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    print(f"best step {result['best_step']:,}\npreset {run.preset_directory}\nreport {report}")


def options_as_keys(arguments: argparse.Namespace) -> dict[str, Any]:
    """Dotted key -> value of the options that were given."""
    given = {key: getattr(arguments, option) for option, key in FINETUNE_KEYS.items()}
    return {key: value for key, value in given.items() if value is not None}


def predict(arguments: argparse.Namespace) -> None:
    firsts, seconds = texts_to_classify(arguments)
    load_tensorflow()
    from clozekit.model.classify_texts import classify_texts
    from clozekit.model.presets import open_source
    from clozekit.model.text_classifier import TextClassifier

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
    if not arguments.pairs:
        return fill_texts(arguments.texts, arguments.file, key=arguments.text_key), None
    texts = arguments.texts
    if len(texts) % 2:
        raise InputError(f"with --pairs the texts come two by two, got {len(texts)}; add the other one")
    pairs: list[tuple[str, ...]] = list(zip(texts[::2], texts[1::2], strict=True))
    if arguments.file is not None:
        keys = (arguments.text_key or "text", arguments.text_pair_key or "text_pair")
        from clozekit.deploy.text_files import read_texts

        pairs += read_texts(arguments.file, "--file", keys, 2)
    if not any("".join(pair).strip() for pair in pairs):
        raise InputError("there must be at least one text, got none; write it behind the preset or pass --file")
    return [first for first, _ in pairs], [second for _, second in pairs]
