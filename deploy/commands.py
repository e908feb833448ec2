"""What each subcommand does: options into settings, the work, a summary on the screen."""

import argparse
from pathlib import Path
from typing import Any

from clozekit.deploy.quiet import load_tensorflow
from clozekit.tokenizers.errors import InputError


def demo(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.demo import run_demo

    run_demo(Path(arguments.directory), arguments.steps, arguments.debug)


def _selection(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """What is read and what is selected of it: the file of --config, with the other options before it."""
    from clozekit.pipelines.config import build_options, load_fields, parse_rule, parse_source

    fields = load_fields(arguments.config)
    given = {
        "read": {
            "inputs": arguments.input,
            "sources": arguments.source and tuple(map(parse_source, arguments.source)),
            "input_format": arguments.input_format,
            "document_kind": arguments.document,
            "text_key": arguments.text_key,
            "id_key": arguments.id_key,
            "max_document_mb": arguments.max_document_mb,
            "max_bad_rate": arguments.max_bad_rate,
        },
        "clean": {
            "unicode": arguments.clean,
            "fix_encoding": arguments.fix_encoding,
            "boilerplate_lines": arguments.drop_boilerplate,
            "mask": arguments.mask,
        },
        "filter": {
            "rule_sets": arguments.quality,
            "rules": arguments.rule
            and {**(fields["filter"].get("rules") or {}), **dict(map(parse_rule, arguments.rule))},
            "languages": arguments.language,
            "tags": arguments.keep_tags,
        },
        "decontaminate": {"inputs": arguments.decontaminate},
        "deduplicate": {"kind": arguments.deduplicate},
    }
    for section, values in given.items():
        fields[section].update({name: value for name, value in values.items() if value is not None})
    return build_options(fields)


def _running(arguments: argparse.Namespace) -> dict[str, Any]:
    from clozekit.pipelines.runners import LOCAL_RUNNER

    return {
        "runner": arguments.runner or LOCAL_RUNNER,
        "num_workers": arguments.num_workers,
        "beam_arguments": arguments.beam,
        "show_progress": True,
    }


def vocab(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.vocabulary import VocabularyOptions, describe_report, make_vocabulary

    options = VocabularyOptions(arguments.family, arguments.vocabulary_size, arguments.lowercase)
    reading, corpus = _selection(arguments)
    _, report, num_bad = make_vocabulary(
        reading,
        arguments.output,
        options,
        corpus=corpus,
        overwrite=arguments.overwrite,
        **_running(arguments),
    )
    if num_bad:
        print(f"{num_bad:,} records could not be read and were left out")
    print("\n".join([f"tokenizer        {arguments.output}", *describe_report(report)]))


def prepare(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.describe import describe_manifest
    from clozekit.pipelines.options import PrepareOptions
    from clozekit.pipelines.prepare import prepare as prepare_dataset

    options = PrepareOptions(
        sequence_length=arguments.sequence_length,
        validation_rate=arguments.validation_rate,
        seed=arguments.seed,
        shard_size_mb=arguments.shard_size_mb,
        num_shards=arguments.num_shards,
    )
    reading, corpus = _selection(arguments)
    manifest, built = prepare_dataset(
        reading,
        options,
        arguments.tokenizer,
        arguments.output,
        overwrite=arguments.overwrite,
        corpus=corpus,
        **_running(arguments),
    )
    if not built:
        print("already prepared from these inputs with these settings; nothing to do")
    print("\n".join(describe_manifest(manifest, arguments.output)))


def inspect(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.describe import describe_manifest, sample_rows
    from clozekit.pipelines.files import join
    from clozekit.pipelines.manifest import read_manifest
    from clozekit.tokenizers.families import load_tokenizer

    if arguments.rows < 0:
        raise InputError(f"--rows must be at least 0, got {arguments.rows}")
    manifest = read_manifest(arguments.dataset)
    tokenizer = load_tokenizer(arguments.tokenizer or join(arguments.dataset, "tokenizer"))
    rows = list(sample_rows(manifest, arguments.dataset, tokenizer, arguments.rows))
    print("\n".join([*describe_manifest(manifest, arguments.dataset), "", *rows]))


def train(arguments: argparse.Namespace) -> None:
    load_tensorflow(arguments.debug)
    from clozekit.model.training.config import load_config
    from clozekit.model.training.controller import Run
    from clozekit.model.training.report import write_run_report

    config = load_config(arguments.config, arguments.changes)
    run = Run(config)
    metrics = run.train()
    report = write_run_report(run, metrics)
    print(
        f"validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f}, accuracy"
        f" {metrics['accuracy']:.1%}\npreset {run.preset_directory}\nreport {report}"
    )


def fill(arguments: argparse.Namespace) -> None:
    load_tensorflow(arguments.debug)
    from clozekit.model.fill_mask import fill_mask
    from clozekit.model.presets import load_preset

    task, tokenizer = load_preset(arguments.preset)
    for text in arguments.texts:
        guesses = fill_mask(task, tokenizer, text, arguments.top_k)
        print("\n".join(show_guesses(text, guesses)))


def show_guesses(text: str, guesses: list[list[Any]]) -> list[str]:
    """The text, and a line for each of its masks with the likeliest pieces."""
    lines = [text]
    for number, best in enumerate(guesses, start=1):
        name = f"mask {number}" if len(guesses) > 1 else "mask"
        lines.append(f"  {name}: " + ", ".join(f"{guess.piece} {guess.probability:.1%}" for guess in best))
    return lines
