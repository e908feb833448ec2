"""The data of a fine-tuning: its files read, its labels as ids or numbers, what does not fit refused by its line."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from clozekit.model.presets.lineage import Lineage, linked
from clozekit.model.training.finetuning.kinds.finetune_kind import Examples, FinetuneKind
from clozekit.model.training.settings.finetune_settings import FinetuneSettings
from clozekit.tokenizers.common.errors import InputError

Some = TypeVar("Some", bound=Examples)


@dataclass(frozen=True)
class Split:
    """Examples of one file with what is to be predicted of them, an item each: ids, numbers, or what the kind has."""

    name: str
    examples: Examples
    labels: np.ndarray


class UsedFile(NamedTuple):
    """A file and what it is for: "train", "validation" or "test"."""

    use: str
    name: str
    sha256: str
    num_examples: int


@dataclass(frozen=True)
class FinetuneData:
    """labels: the names of the classes in the order of their ids, where there are classes. sha256: of all files."""

    train: Split
    validation: tuple[Split, ...]
    test: tuple[Examples, ...]
    labels: tuple[str, ...]
    sha256: str
    files: tuple[UsedFile, ...]

    @property
    def num_skipped(self) -> int:
        """Bad rows that were left out, in all files."""
        files = {split.examples.source: split.examples for split in (self.train, *self.validation)}
        return sum(examples.num_skipped for examples in [*files.values(), *self.test])


def read_finetune_data(config: FinetuneSettings, kind: FinetuneKind) -> FinetuneData:
    """Raises InputError for whatever is wrong with the files, before any model is built."""
    data = config.data
    train = kind.read(data.path(data.train), data, False)
    validation = [kind.read(data.path(name), data, False) for name in data.validation]
    test = tuple(kind.read(data.path(name), data, True) for name in data.test)
    files = [train, *validation, *test]
    uses = ["train", *["validation"] * len(validation), *["test"] * len(test)]
    names = [Path(file.source).stem for file in files[1:]]
    if len(set(names)) != len(names):
        raise InputError(f"the validation and test files must have different names, got {', '.join(names)}; rename one")
    labels = kind.names(train, data)

    def split_of(examples: Examples, name: str) -> Split:
        return Split(name, examples, kind.labels(examples, labels, "data.labels" if data.labels else train.source))

    kept, parts = train, validation
    if not validation:
        kept, part = validation_part(train, data.validation_rate, config.seed)
        parts, names = [part], ["validation"]
    first = split_of(kept, "train")
    splits = tuple(split_of(examples, name) for examples, name in zip(parts, names, strict=False))
    digest = hashlib.sha256(" ".join(file.sha256 for file in files).encode()).hexdigest()
    used = tuple(
        UsedFile(use, Path(file.source).name, file.sha256, len(file)) for use, file in zip(uses, files, strict=True)
    )
    return FinetuneData(first, splits, test, labels, digest, used)


def examples_lineage(data: FinetuneData) -> Lineage:
    """The link of the files of a fine-tuning."""
    # A name may hold anything; a link is one line a value.
    files = [
        {**file._asdict(), "name": file.name if file.name.isprintable() else ascii(file.name)} for file in data.files
    ]
    return linked("examples", {"sha256": data.sha256, "files": files})


def validation_part(examples: Some, rate: float, seed: int) -> tuple[Some, Some]:
    """(to train on, to validate on): `rate` of the examples, drawn by `seed` alone, both in the file's order."""
    num_validation = round(rate * len(examples))
    if not 0 < num_validation < len(examples):
        raise InputError(
            f"data.validation_rate {rate} of {len(examples)} examples leaves one side empty; change it, or name a"
            " validation file in data.validation"
        )
    # A stream of its own: epoch orders are [seed, 0], [seed, 1] and so on.
    drawn = np.random.default_rng([seed, 2**32]).permutation(len(examples))[:num_validation]
    chosen = set(drawn.tolist())
    places = range(len(examples))
    return (
        examples.taken([place for place in places if place not in chosen]),
        examples.taken([place for place in places if place in chosen]),
    )
