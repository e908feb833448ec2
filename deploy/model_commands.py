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
    texts = None if arguments.texts is None else fill_texts([], arguments.texts, "--texts")
    if arguments.output is not None:
        check_result_target(arguments.output)
    load_tensorflow()
    from clozekit.model.training.evaluate_preset import EvaluateOptions, evaluate_dataset, evaluate_texts

    if texts is not None:
        result = evaluate_texts(arguments.preset, texts)
    else:
        options = EvaluateOptions(arguments.batch_size, arguments.max_rows, arguments.mask_rate)
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
    load_tensorflow()
    from clozekit.model.training.finetune import FinetuneRun
    from clozekit.model.training.finetune_config import load_finetune_config
    from clozekit.model.training.finetune_report import write_finetune_report

    run = FinetuneRun(load_finetune_config(name, changes, options_as_keys(arguments)))
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
    texts = fill_texts(arguments.texts, arguments.file)
    given = len(arguments.texts)
    firsts, seconds = split_pairs(texts[:given], texts[given:]) if arguments.pairs else (texts, None)
    load_tensorflow()
    from clozekit.model.classify_texts import classify_texts
    from clozekit.model.presets import open_source
    from clozekit.model.text_classifier import TextClassifier

    if open_source(arguments.preset).head_settings(TextClassifier.kind) is None:
        raise InputError(
            f"predictions need a preset with a text classifier, {arguments.preset} has none; make one with `clozekit"
            " finetune`"
        )
    predictions = classify_texts(TextClassifier.from_preset(arguments.preset), firsts, seconds)
    for number, found in enumerate(predictions):
        both = [firsts[number], *([seconds[number]] if seconds else [])]
        if arguments.json:
            named = dict(zip(("text", "text_pair"), both, strict=False))
            values = {key: value for key, value in dataclasses.asdict(found).items() if value not in (None, {})}
            print(json.dumps(named | values, ensure_ascii=False))
        else:
            answer = f"{found.value:.4f}" if found.label is None else f"{found.label} {found.probability:.1%}"
            print("\t".join([answer, *both]))


def split_pairs(texts: list[str], lines: list[str]) -> tuple[list[str], list[str]]:
    """First and second texts, from arguments two by two and from lines with a tab in the middle."""
    if len(texts) % 2:
        raise InputError(f"with --pairs the texts come two by two, got {len(texts)}; add the other one")
    for line in lines:
        if line.count("\t") != 1:
            raise InputError(f"with --pairs a line must hold two texts with a tab between them, got {line!r:.80}")
    pairs = [*zip(texts[::2], texts[1::2], strict=True), *(line.split("\t") for line in lines)]
    return [first for first, _ in pairs], [second for _, second in pairs]
