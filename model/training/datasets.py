"""The datasets of a run: read, and held against each other and the model before anything is built."""

from collections.abc import Iterable, Mapping

from tqdm import tqdm

from clozekit.model.families.family import Family
from clozekit.model.reading.dataset_reader import check_shards, shard_problems
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.model.training.stages import Stage
from clozekit.pipelines.dataset.chain import has_stream
from clozekit.pipelines.dataset.manifest import Manifest, read_manifest
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.families.preset_tokenizer import of_class
from clozekit.tokenizers.tokenizer import Tokenizer

MORE_DOCUMENTS = "prepare it with more documents (--document block or line cuts text files), or another validation_rate"


def check_splits(manifest: Manifest, dataset: str, needed: tuple[str, ...] = ("train", "validation")) -> None:
    """Raises InputError when a split that is needed has no rows."""
    for split in needed:
        if split not in manifest.splits:
            raise InputError(
                f"rows to {'train on' if split == 'train' else 'measure on'} are needed, {dataset} has no {split} split;"
                f" {MORE_DOCUMENTS}"
            )


def check_family(family: Family, tokenizer: Tokenizer) -> None:
    """Raises InputError when the ids of the dataset, made by `tokenizer`, are not those of the model's family."""
    needed = family.tokenizer
    if not isinstance(of_class(needed, tokenizer), needed):
        raise InputError(
            f"a model of the family {family.name} needs a dataset of {needed.__name__}, this one was prepared with"
            f" {type(tokenizer).__name__}; prepare it with a tokenizer of `clozekit vocab --family {family.name}`"
        )


def check_pairs(family: Family, manifests: Mapping[str, Manifest]) -> None:
    """Raises InputError when a model of the family can't be trained on pairs, or a dataset has none."""
    if family.huggingface.pair_head is None:
        raise InputError(
            "objective=pairs needs a model with a head of sentence pairs, of the family bert or albert, got"
            f" {family.name}; change model.family, or leave objective out"
        )
    for directory, manifest in manifests.items():
        if not manifest.has_pairs:
            raise InputError(
                f"objective=pairs needs a dataset of sentence pairs, {directory} has none; prepare it with --pairs next or"
                " --pairs order, or leave objective out"
            )


def read_datasets(config: RunSettings, stages: Iterable[Stage]) -> dict[str, Manifest]:
    """The manifests of the datasets of all stages, by their directories, that of the configuration first.

    Raises InputError when one can't be trained on, or does not go with the others.
    """
    for directory in {config.dataset, *(stage.dataset for stage in stages)}:
        if has_stream(directory):
            raise InputError(
                f"{directory} is a stream, which grows; follow it (follow.replay=0.25 optimizer.schedule=constant), or make a"
                f" dataset of what it holds: `clozekit compact {directory} --output DIRECTORY`"
            )
    first = read_manifest(config.dataset)
    check_splits(first, config.dataset, ("train",))
    manifests = {config.dataset: first}
    for stage in stages:
        if stage.dataset not in manifests:
            manifests[stage.dataset] = read_manifest(stage.dataset)
            check_splits(manifests[stage.dataset], stage.dataset, ("train",))
    for directory, manifest in manifests.items():
        if manifest.tokenizer.sha256 != first.tokenizer.sha256:
            raise InputError(
                f"all datasets of a run must be made with one tokenizer, {directory} was made with another than"
                f" {config.dataset}; prepare it with --tokenizer {config.dataset}/tokenizer"
            )
    return manifests


def check_all_shards(config: RunSettings, manifests: Mapping[str, Manifest]) -> None:
    """Holds the shards against their manifests, every byte of them unless `reader.check_shards` is false; the chief does
    it for all workers.

    Raises InputError for the first that is damaged; where the configuration says to leave such rows out, all of them are
    named on the screen.
    """
    for directory, manifest in manifests.items():
        if config.reader.on_damage == "stop":
            check_shards(directory, manifest, config.reader.check_shards, show_progress=True)
            continue
        for split in manifest.splits.values():
            for problem in shard_problems(directory, split, config.reader.check_shards, show_progress=True):
                tqdm.write(f"  {problem}; its rows are left out")
