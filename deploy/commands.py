"""What each subcommand does: options into settings, the work, a summary on the screen."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clozekit.deploy.quiet import load_tensorflow
from clozekit.tokenizers.errors import InputError


def demo(arguments: argparse.Namespace) -> None:
    from clozekit.deploy.demo import run_demo

    run_demo(Path(arguments.directory), arguments.steps)


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
            "quoting": arguments.quoting,
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
            "bad_words": arguments.bad_words,
        },
        "decontaminate": {"inputs": arguments.decontaminate},
        "deduplicate": {"kind": arguments.deduplicate, "min_similarity": arguments.min_similarity},
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
    from clozekit.pipelines.vocabulary_options import VocabularyOptions

    options = VocabularyOptions(
        arguments.family,
        arguments.vocabulary_size,
        arguments.lowercase,
        arguments.alphabet_size,
        arguments.character_coverage,
    )
    reading, corpus = _selection(arguments)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.vocabulary import describe_report, make_vocabulary

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


def prepare_settings(arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """What `prepare` reads, what it selects of it, and how it makes rows."""
    from clozekit.pipelines.options import PrepareOptions

    options = PrepareOptions(
        validation_rate=arguments.validation_rate,
        seed=arguments.seed,
        shard_size_mb=arguments.shard_size_mb,
        num_shards=arguments.num_shards,
        long_documents=arguments.long_documents,
        pairs=arguments.pairs,
        packing=arguments.packing,
        max_documents_per_row=arguments.max_documents_per_row,
    )
    return *_selection(arguments), options


def prepare(arguments: argparse.Namespace) -> None:
    reading, corpus, options = prepare_settings(arguments)
    for length in arguments.sequence_length:
        dataclasses.replace(options, sequence_length=length)
    # Beam is loaded when all that can be wrong with the options is said.
    from clozekit.pipelines.build_report import REPORT_FILE
    from clozekit.pipelines.describe import describe_manifest
    from clozekit.pipelines.files import join
    from clozekit.pipelines.prepare import prepare_lengths

    results = prepare_lengths(
        reading,
        options,
        arguments.sequence_length,
        arguments.tokenizer,
        arguments.output,
        overwrite=arguments.overwrite,
        corpus=corpus,
        **_running(arguments),
    )
    for directory, (manifest, built) in results.items():
        if not built:
            print("already prepared from these inputs with these settings; nothing to do")
        print("\n".join([*describe_manifest(manifest, directory), "", f"report    {join(directory, REPORT_FILE)}"]))


def inspect(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.describe import describe_manifest, sample_rows
    from clozekit.pipelines.files import join
    from clozekit.pipelines.manifest import read_manifest
    from clozekit.pipelines.tokenizer_files import TOKENIZER_FOLDER
    from clozekit.tokenizers.families import load_tokenizer

    if arguments.rows < 0:
        raise InputError(f"--rows must be at least 0, got {arguments.rows}")
    manifest = read_manifest(arguments.dataset)
    tokenizer = load_tokenizer(arguments.tokenizer or join(arguments.dataset, TOKENIZER_FOLDER))
    rows = list(sample_rows(manifest, arguments.dataset, tokenizer, arguments.rows))
    print("\n".join([*describe_manifest(manifest, arguments.dataset), "", *rows]))


def verify(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.verify import verify_dataset

    verified = verify_dataset(arguments.dataset)
    print("\n".join(map(str, verified.problems)), end="\n" if verified.problems else "")
    if verified.problems:
        raise InputError(
            f"a dataset must be what its manifest says, {arguments.dataset} has {len(verified.problems)} problems (above);"
            " copy it again or run `clozekit prepare --overwrite`"
        )
    print(f"whole: {verified.num_shards:,} shards, {verified.num_rows:,} rows, {verified.num_tokens:,} tokens")


def export(arguments: argparse.Namespace) -> None:
    from clozekit.pipelines.export import export_dataset
    from clozekit.pipelines.export_formats import reading_line

    manifest = export_dataset(
        arguments.dataset, arguments.output, arguments.to, overwrite=arguments.overwrite, **_running(arguments)
    )
    print(
        f"exported {sum(split.rows for split in manifest.splits.values()):,} rows to {arguments.output}; read it with"
    )
    print(f"  {reading_line(arguments.to, arguments.output, manifest)}")


def train(arguments: argparse.Namespace) -> None:
    from clozekit.model.training.config_file import load_config

    config = load_config(arguments.config, arguments.changes)

    def join_workers() -> Any:
        from clozekit.model.training.workers import start_workers

        return start_workers(config.cluster)

    workers = load_tensorflow(join_workers)
    from clozekit.model.training.controller import Run
    from clozekit.model.training.report import write_run_report

    if arguments.dry_run:
        from clozekit.model.training.dry_run import dry_run

        for line in dry_run(config, workers):
            print(line, flush=True)
        return
    run = Run(config, workers)
    metrics = run.train()
    if not workers.is_chief:
        return
    report = write_run_report(run, metrics)
    print(
        f"validation loss {metrics['loss']:.3f}, perplexity {metrics['perplexity']:.1f}, accuracy"
        f" {metrics['accuracy']:.1%}\npreset {run.preset_directory}\nreport {report}"
    )


def convert(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from clozekit.deploy.convert import convert as convert_preset

    converted = convert_preset(arguments.source, arguments.target, arguments.to)
    for note in converted.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{converted.what}, from {arguments.source} to {arguments.target}\n{converted.load_with}")


def fill(arguments: argparse.Namespace) -> None:
    texts = fill_texts(arguments.texts, arguments.file, key=arguments.text_key)
    load_tensorflow()
    from clozekit.model.trained_masked_lm import load_masked_lm

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


def fill_texts(texts: Sequence[str], file: str | None, option: str = "--file", key: str | None = None) -> list[str]:
    """The texts of the command line, then those of `file`, its empty lines as empty texts."""
    found = list(texts)
    if file is not None:
        from clozekit.deploy.text_files import read_texts

        found += [row[0] for row in read_texts(file, option, (key,) if key else None)]
    if not any(map(str.strip, found)):
        raise InputError(f"there must be at least one text, got none; write it behind the preset or pass {option}")
    return found


def show_guesses(text: str, guesses: Sequence[Sequence[Any]]) -> list[str]:
    """The text, and a line for each of its masks with the likeliest pieces as they read."""
    lines = [text]
    for number, best in enumerate(guesses, start=1):
        name = f"mask {number}" if len(guesses) > 1 else "mask"
        lines.append(f"  {name}: " + ", ".join(f"{readable(guess)} {guess.probability:.1%}" for guess in best))
    return lines


def readable(guess: Any) -> str:
    """How a piece reads; one that shows nothing (a space) is shown as it stands in the vocabulary."""
    return guess.text.strip() or guess.piece
