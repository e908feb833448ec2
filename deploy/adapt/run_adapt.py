"""The steps of `clozekit adapt`: dataset, measure, train, measure again; what is done already is not done again."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

from clozekit.deploy.adapt.adapt_recipe import AdaptRecipe
from clozekit.deploy.adapt.choose_documents import choose_documents
from clozekit.model.families.grow_vocabulary import with_added_tokens
from clozekit.model.presets.lineage_file import Origin
from clozekit.model.presets.load_presets import PresetSource, open_source, save_preset
from clozekit.model.presets.named_lineage import lineage_of
from clozekit.model.presets.preset_targets import check_preset_target, write_whole_preset
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.controller import Run
from clozekit.model.training.datasets import check_splits
from clozekit.model.training.evaluate_preset import evaluate_dataset
from clozekit.model.training.reports.pretraining_report import write_run_report
from clozekit.model.training.run_directory.run_files import TRAIN, check_run_directory
from clozekit.model.training.settings.evaluate_settings import EvaluatePresetSettings
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.pipelines.output_files import check_output
from clozekit.pipelines.prepare import prepare
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.storage.file_systems import read_text, write_text
from clozekit.tokenizers.storage.owned_files import Owned, check_free, write_owned

RECIPE_FILE, EVALUATION_FILE = "adapt.yaml", "evaluation.json"
_CHOOSE = "pass another --output"


def run_adapt(recipe: AdaptRecipe, say: Callable[[str], None]) -> dict[str, Any]:
    """Does what of the recipe is not done yet in its output, and says in lines what is.

    Returns before and after (what `evaluate` measures; before is None where the preset has no masked-LM head), preset and
    report. Raises InputError where a step would.
    """
    output = recipe.output
    recipe = _with_documents(recipe, say)
    _claim(recipe)
    source = open_source(recipe.init_from)
    positions = source.backbone_settings()["max_sequence_length"]
    begin, tokenizer = _begin(recipe, source, say)
    told = recipe.preparing(tokenizer, positions)
    say(f"dataset: rows of {told.rows.sequence_length[0]} tokens of {recipe.init_from}'s tokenizer")
    try:
        manifest, _ = prepare(
            told.reading, told.rows.options(), tokenizer, f"{output}/dataset", corpus=told.corpus, show_progress=True
        )
    except InputError as error:
        raise InputError(f"{error} (of `adapt`: {_CHOOSE}, or remove {output} to begin anew)") from error
    check_splits(manifest, f"{output}/dataset")
    config = recipe.training(begin)
    run = Run(config)
    measured = _measured(output, manifest.dataset_sha256)
    if "before" not in measured:
        say("before: what the model makes of the validation split")
        has_head = open_source(begin).head_settings(MaskedLM.kind) is not None
        measured = {"dataset_sha256": manifest.dataset_sha256, "before": _evaluate(begin, config) if has_head else None}
        write_text(f"{output}/{EVALUATION_FILE}", json.dumps(measured, indent=2) + "\n")
    say(
        f"training: {run.config.train.global_batch_size} rows a step"
        f" ({manifest.splits['train'].rows:,} rows there are), {run.task.count_params():,} parameters"
    )
    metrics = run.train()
    report = write_run_report(run, metrics)
    say("after: the same rows with the same masks")
    measured["after"] = _evaluate(run.preset_directory, config)
    write_text(f"{output}/{EVALUATION_FILE}", json.dumps(measured, indent=2) + "\n")
    return {"before": measured["before"], "after": measured["after"], "preset": run.preset_directory, "report": report}


def _with_documents(recipe: AdaptRecipe, say: Callable[[str], None]) -> AdaptRecipe:
    """The recipe with what a document is. Raises InputError for inputs that can't be read, before anything is written."""
    kind = choose_documents(recipe.preparing("tokenizer", 8).reading, (recipe.output,))
    read = recipe.fields["read"]
    if kind is None or "document_kind" in read:
        return recipe
    what = "what stands between blank lines" if kind == "block" else "a line"
    say(f"documents: there are few text files, so {what} is one (read.document_kind={kind})")
    return dataclasses.replace(recipe, fields={**recipe.fields, "read": {**read, "document_kind": kind}})


def _claim(recipe: AdaptRecipe) -> None:
    """Notes what of the output is the command's own; its folders note it themselves. Raises InputError where something else
    is in the way of any of them."""
    output, names = recipe.output, (RECIPE_FILE, EVALUATION_FILE)
    check_free("adapt", output, names, _CHOOSE)
    check_output(f"{output}/dataset", ())
    check_run_directory(f"{output}/run", TRAIN)
    for name in ("preset", "start", "tokenizer"):
        check_preset_target(f"{output}/{name}", recipe.init_from)
    write_owned(output, Owned("adapt", frozenset(names)))
    write_text(f"{output}/{RECIPE_FILE}", recipe.to_yaml())


def _begin(recipe: AdaptRecipe, source: PresetSource, say: Callable[[str], None]) -> tuple[str, str]:
    """The preset that training begins from, and where its tokenizer is."""
    if recipe.add_tokens is None:
        folder = f"{recipe.output}/tokenizer"
        write_whole_preset(folder, source.tokenizer().save)
        return recipe.init_from, folder
    tokens = tokens_of(recipe.add_tokens)
    before = source.tokenizer().vocabulary_size()
    task = with_added_tokens(MaskedLM.from_preset(recipe.init_from, compile=False), tokens)
    start = f"{recipe.output}/start"
    assert task.preprocessor is not None
    added = {"num_tokens": len(tokens), "tokens_sha256": hashlib.sha256("\n".join(tokens).encode()).hexdigest()}
    sources = {"init_from": (lineage_of(recipe.init_from),)}
    save_preset(start, task, origin=Origin("adapt", sources, tokenizer=task.preprocessor.tokenizer, fields=added))
    say(f"tokens: {task.preprocessor.tokenizer.vocabulary_size() - before} of {len(tokens)} are new")
    return start, start


def tokens_of(path: str) -> list[str]:
    """The tokens of a file, one a line; empty lines are passed over. Raises InputError for one that is none."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"add_tokens must be a readable text file, one token a line, {path} is not ({error})"
        ) from error
    tokens = [line.strip() for line in lines if line.strip()]
    if not tokens:
        raise InputError(f"add_tokens must hold at least one token, {path} has none; leave it out")
    return tokens


def _measured(output: str, dataset_sha256: str) -> dict[str, Any]:
    """What an earlier start has measured on this dataset."""
    try:
        found = json.loads(read_text(f"{output}/{EVALUATION_FILE}"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("dataset_sha256") == dataset_sha256 else {}


def _evaluate(preset: str, config: RunSettings) -> dict[str, Any]:
    micro = config.train.micro_batch_size or config.train.global_batch_size
    options = EvaluatePresetSettings(micro, config.evaluate.max_rows, config.masking.validation_rate, config.train.xla)
    return evaluate_dataset(preset, config.dataset, options)
