"""What a kind of fine-tuning is: how its files are read and made into rows, what it minimises and how it is measured."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np

from clozekit.model.common.tensors import DType
from clozekit.model.preprocessing.preprocessor import Preprocessor
from clozekit.model.tasks.task import Task
from clozekit.model.training.finetuning.examples.row_set import RowSet
from clozekit.model.training.objectives.objective import Objective, objective_named
from clozekit.model.training.settings.finetune_settings import DataSettings, FinetuneSettings


class Examples(Protocol):
    """The examples of one file."""

    @property
    def source(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def num_skipped(self) -> int: ...

    def __len__(self) -> int: ...

    def taken(self, places: Sequence[int]) -> Self:
        """The examples at `places`, in that order."""


@dataclass(frozen=True)
class EncodedSplit:
    """A file as rows; more: what else its kind needs to make answers of a model's outputs."""

    row_set: RowSet
    more: Any = None

    def labels(self) -> np.ndarray:
        """Those of the rows; a file to predict, which has none, is never measured."""
        assert self.row_set.labels is not None, "measured are the files with labels"
        return self.row_set.labels


class FinetuneKind:
    """Base of the kinds, each the `KIND` of a file NAME_kind.py beside this one, where NAME is a value of `task`.

    A subclass implements `read`, `labels`, `encode`, `build`, `metrics` and `predictions`.
    """

    # The file NAME_objective.py.
    objective_name: ClassVar[str]
    # The tokens of a row where nothing is said.
    default_sequence_length: ClassVar[int] = 128
    # How the names of the files of predictions end; None: there are none.
    predictions_suffix: ClassVar[str | None] = ".tsv"

    def objective(self, config: FinetuneSettings) -> Objective:
        return objective_named(self.objective_name)

    def check(self, config: FinetuneSettings, rows_at_once: int) -> None:
        """Raises InputError for settings that contradict the rows that a replica computes at once."""

    def read(self, path: str, data: DataSettings, is_test: bool) -> Examples:
        """The examples of a file; is_test: without labels. Raises InputError naming the file and the line."""
        raise NotImplementedError

    def names(self, train: Any, data: DataSettings) -> tuple[str, ...]:
        """The names of the classes in the order of their ids; none where there are no classes."""
        return ()

    def labels(self, examples: Any, names: tuple[str, ...], source: str) -> np.ndarray:
        """What is to be predicted, an item an example. Raises InputError for a label that is not among `names`, those of
        `source`."""
        raise NotImplementedError

    def build(self, config: FinetuneSettings, names: tuple[str, ...], dtype: DType) -> Task:
        """The task over the preset's backbone, with fresh weights in its head, not compiled."""
        raise NotImplementedError

    def encode(self, examples: Any, labels: np.ndarray | None, preprocessor: Preprocessor) -> EncodedSplit:
        """The rows of a file; labels None: of a test file."""
        raise NotImplementedError

    def metrics(
        self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]
    ) -> dict[str, float]:
        """loss, and those of METRIC_NAMES, of float32 outputs as `RowSet.outputs` gives them."""
        raise NotImplementedError

    def predictions(self, outputs: list[np.ndarray], split: EncodedSplit, examples: Any, names: tuple[str, ...]) -> str:
        """The content of a file of predictions."""
        raise NotImplementedError


def tsv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of fields with tabs between them."""
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


def kind_named(name: str) -> FinetuneKind:
    """The kind of a value of `task`."""
    return cast(FinetuneKind, importlib.import_module(f"clozekit.model.training.finetuning.kinds.{name}_kind").KIND)
