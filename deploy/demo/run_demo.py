"""The demo: the whole path on text that every machine with Clozekit already holds."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from clozekit.deploy.demo.demo_corpus import write_corpus
from clozekit.deploy.guesses import show_guesses
from clozekit.deploy.quiet_loading import load_tensorflow
from clozekit.pipelines.dataset.manifest import Manifest
from clozekit.pipelines.output_files import check_output
from clozekit.pipelines.prepare import prepare
from clozekit.pipelines.settings.prepare_settings import PrepareSettings, ReadSettings
from clozekit.pipelines.vocabulary import VocabularySettings, make_vocabulary
from clozekit.pipelines.vocabulary_output import check_vocabulary_output
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.load_tokenizer import load_tokenizer
from clozekit.tokenizers.settings.settings_files import check
from clozekit.tokenizers.storage.file_systems import write_text
from clozekit.tokenizers.storage.owned_files import Owned, check_free, write_owned
from clozekit.tokenizers.tokenizer import TOKENIZER_FILE

# Chosen by measuring on two cores: see BENCHMARKS.md, "The demo".
VOCABULARY_SIZE = 4000
SEQUENCE_LENGTH = 128
VALIDATION_RATE = 0.03
# Training has this long, however fast the machine is; the rest of the demo takes a minute or two.
TRAINING_MINUTES = 3.75
CONFIG_FILE, REPORT_FILE, CORPUS_FILE = "train.yaml", "report.html", "corpus/python-docs.jsonl"
PROMISED_TIMES_BETTER = 2
CONFIG = """\
# The demo's training run: BERT of 2 layers x 128, as many steps of 8 rows as there is time for.
# Chosen at equal CPU time: many small steps, Muon at its full rate but for the last tenth, wide fresh weights (see BENCHMARKS.md).
dataset: {dataset}
directory: {run}
preset: {preset}
model: {{num_layers: 2, num_heads: 2, hidden_dim: 128, intermediate_dim: 512, dropout: 0.0, initializer_range: 0.06}}
train: {{{length}, global_batch_size: 8, steps_per_loop: 50}}
optimizer: {{name: muon, learning_rate: 0.003, schedule: warmup_stable_decay}}
evaluate: {{every_steps: 1000, max_rows: 1000}}
checkpoint: {{every_steps: 1000}}
"""
TEXTS = (
    "Return the [MASK] of the list.",
    "If the file does not exist, a FileNotFoundError [MASK] raised.",
    "The default [MASK] is None.",
    "Raise a [MASK] if the argument is not an integer.",
    "Return True if the two arrays have the same [MASK].",
    "The [MASK] must be a positive [MASK].",
)


def run_demo(directory: Path, steps: int | None) -> None:
    """Runs what is not done yet in `directory`, says what is, and ends with the results and a report."""
    check("--steps must be from 1 to 2**31 - 1", steps is None or 1 <= steps < 2**31, steps)
    started = time.monotonic()
    corpus = directory / CORPUS_FILE
    _claim(directory)
    tokenizer_directory, dataset = directory / "tokenizer", directory / "dataset"
    _stage(1, "corpus: Python's language reference and the docstrings of installed libraries")
    make_corpus(corpus)
    reading = ReadSettings((os.path.abspath(corpus),))
    _stage(2, f"vocabulary: WordPiece, {VOCABULARY_SIZE:,} pieces")
    make_tokenizer(reading, tokenizer_directory)
    _stage(3, f"dataset: rows of {SEQUENCE_LENGTH} tokens, packed, as TFRecord shards")
    manifest = _make_dataset(reading, tokenizer_directory, dataset)
    _stage(4, "training: a small BERT from scratch")
    load_tensorflow()
    run, metrics = _train(directory, dataset, steps)
    _stage(5, "results")
    times_better = _show_results(directory, run, metrics, manifest)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\n  done in {minutes} min {seconds} s; open {directory / 'report.html'} in a browser, and try:")
    # The command as it was started: after `make demo` it is not on the PATH.
    print(f'  {sys.argv[0]} fill {directory / "preset"} "The [MASK] of a dictionary."')

    if steps is None and times_better < PROMISED_TIMES_BETTER:
        raise RuntimeError(
            f"the demo promises {PROMISED_TIMES_BETTER} times the commonest token, got {times_better:.2f}"
        )


def _claim(directory: Path) -> None:
    """Notes what of the directory is the demo's own; its folders note it themselves. Raises InputError where something
    else is in the way of any of them."""
    from clozekit.model.presets.preset_targets import check_preset_target
    from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory

    names, choose = (CONFIG_FILE, REPORT_FILE, CORPUS_FILE), "pass another --directory"
    check_free("the demo", directory, names, choose)
    check_vocabulary_output(str(directory / "tokenizer"))
    check_output(str(directory / "dataset"), ())
    check_run_directory(str(directory / "run"), TRAIN)
    check_preset_target(directory / "preset")
    write_owned(directory, Owned("demo", frozenset(names)))


def _stage(number: int, text: str) -> None:
    print(f"\n[{number}/5] {text}", flush=True)


def make_corpus(path: Path) -> None:
    if path.exists():
        print(f"  already there: {path}, {path.stat().st_size / 1e6:.1f} MB")
        return
    documents, num_bytes = write_corpus(path)
    print(f"  {documents:,} documents, {num_bytes / 1e6:.1f} MB: {path}")


def make_tokenizer(reading: ReadSettings, directory: Path) -> None:
    if (directory / TOKENIZER_FILE).exists():
        print(f"  already there: {directory}, {load_tokenizer(directory).vocabulary_size():,} pieces")
        return
    options = VocabularySettings("bert", VOCABULARY_SIZE)
    _, report, _ = make_vocabulary(reading, str(directory), options, show_progress=True)
    print(
        f"  {report.vocabulary_size:,} pieces from {report.num_words:,} words, {report.tokens_per_word:.2f} tokens a word:"
        f" {directory}"
    )


def _make_dataset(reading: ReadSettings, tokenizer_directory: Path, directory: Path) -> Manifest:
    options = PrepareSettings(sequence_length=SEQUENCE_LENGTH, validation_rate=VALIDATION_RATE, num_shards=8)
    try:
        manifest, built = prepare(reading, options, str(tokenizer_directory), str(directory), show_progress=True)
    except InputError as error:
        raise InputError(f"{error} (in the demo: remove {directory.parent} to begin anew)") from error
    train = manifest.splits["train"]
    print(
        f"  {'' if built else 'already there: '}{train.rows:,} rows, {train.tokens:,} tokens in {len(train.shards)} shards,"
        f" fill rate {manifest.fill_rate('train'):.2%}: {directory}"
    )
    return manifest


def _train(directory: Path, dataset: Path, steps: int | None) -> tuple[Any, dict[str, float]]:
    from clozekit.model.training.controller import Run
    from clozekit.model.training.run_directory.run_files import remove_run
    from clozekit.model.training.settings.run_file import load_config

    path = directory / CONFIG_FILE
    length = f"hours: {TRAINING_MINUTES / 60}" if steps is None else f"steps: {steps}"
    text = CONFIG.format(dataset=dataset, run=directory / "run", preset=directory / "preset", length=length)
    write_text(path, text)
    config = load_config(path)
    resolved = directory / "run" / "config.yaml"
    if resolved.exists() and load_config(resolved).course() != config.course():
        print("  the last run here had other settings; training anew")
        remove_run(str(directory / "run"))
    run = Run(config)
    long = f"{TRAINING_MINUTES} minutes" if steps is None else f"{steps:,} steps"
    print(f"  {run.task.count_params():,} parameters, {long}; the first step compiles, which takes some seconds")
    return run, run.train()


def _show_results(directory: Path, run: Any, metrics: dict[str, float], manifest: Manifest) -> float:
    from clozekit.model.training.reports.pretraining_report import Filled, Report, run_tiles, write_report
    from clozekit.model.training.run_directory.run_log import METRICS_FILE, read_metrics

    token_id, baseline = run.evaluator.commonest_token_accuracy()
    print(f"  validation loss  {metrics['loss']:.3f} nats a masked token, perplexity {metrics['perplexity']:.1f}")
    print(f"  masked accuracy  {metrics['accuracy']:.1%}")
    print(
        f"  commonest token  {baseline:.1%} would be right by always guessing {run.tokenizer.id_to_token(token_id)!r}"
    )
    print(f"  the model is right {metrics['accuracy'] / baseline:.1f} times as often\n")
    filled = [Filled(text, guesses) for text, guesses in zip(TEXTS, run.task.fill_mask(list(TEXTS)), strict=True)]
    for entry in filled:
        print("\n".join(f"  {line}" for line in show_guesses(entry.text, [list(best) for best in entry.guesses])))
    log = read_metrics(f"{run.directory}/{METRICS_FILE}")
    report = Report(
        "Clozekit demo",
        f"A BERT of {run.task.count_params():,} parameters, trained from scratch on this machine's Python documentation:"
        f" {manifest.counts['documents_in']:,} documents, {log[-1]['step']:,} steps.",
        run_tiles(metrics, log, baseline),
        log,
        baseline,
        manifest,
        run.config.to_yaml(),
        filled,
    )
    write_report(directory / REPORT_FILE, report)
    return metrics["accuracy"] / baseline
