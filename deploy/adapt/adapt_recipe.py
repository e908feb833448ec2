"""The recipe of `clozekit adapt`: where it begins, what is read, how it is trained; a file to print and to edit."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from clozekit.model.training.settings.loop_settings import LENGTHS, one_length
from clozekit.model.training.settings.run_file import make_config
from clozekit.model.training.settings.run_settings import RunSettings
from clozekit.pipelines.settings.corpus_file import SECTIONS
from clozekit.pipelines.settings.recipe import Recipe, make_recipe
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.settings.settings_files import apply_changes, check, nearest_key, read_given
from clozekit.tokenizers.settings.yaml_values import printable

OF_PREPARE = (*SECTIONS, "rows")
OF_TRAIN = (
    *("seed", "model", "reader", "masking", "train", "optimizer"),
    *("checkpoint", "evaluate", "divergence", "cluster", "log"),
)
OWN = ("init_from", "output", "add_tokens", "epochs")
# Masks, warm-up and schedule: Gururangan et al. 2020 (arXiv 2004.10964), table 13. Their learning rate is ten times this one,
# for batches of 2,048 rows; three epochs and 5e-5 are what transformers' run_mlm.py has. None of it was tuned here.
DEFAULTS: dict[str, Any] = {
    "epochs": 3.0,
    "rows": {"validation_rate": 0.05},
    "masking": {"train_rate": 0.15},
    "train": {"global_batch_size": 32, "micro_batch_size": 8},
    "optimizer": {"learning_rate": 5e-5, "warmup_rate": 0.06, "schedule": "linear"},
    "evaluate": {"every_steps": 200},
    "checkpoint": {"every_steps": 200},
}
# Rows are no longer, however many positions there are: attention grows with the square.
_LONGEST_ROW = 512
_HEAD = """\
# Continued pretraining of a model on texts of one's own (Gururangan et al. 2020, arXiv 2004.10964). Run it, and run it again
# if it is interrupted: clozekit adapt THIS_FILE
# The architecture, the tokenizer and the positions are those of init_from. Keys of `clozekit prepare` and of `clozekit train`
# stand side by side:
#   {prepare}
#   {train}
# Without a length in `train` (steps, epochs, tokens or hours), `epochs` says how often each row is read.
"""


@dataclass(frozen=True)
class AdaptRecipe:
    """What `clozekit adapt` is told: keys as they were read, with the defaults below them.

    init_from: the preset to begin from. output: the folder of everything. add_tokens: a file of tokens, one a line, that the
    tokenizer and the embeddings get first. epochs: how often training goes over the rows, where `train` has no length.
    """

    init_from: str
    output: str
    add_tokens: str | None
    epochs: float
    fields: dict[str, Any]

    def to_yaml(self) -> str:
        """The recipe as `load_adapt_recipe` reads it."""
        own = {"init_from": self.init_from, "output": self.output, "add_tokens": self.add_tokens, "epochs": self.epochs}
        head = _HEAD.format(prepare=", ".join(OF_PREPARE), train=", ".join(OF_TRAIN))
        return head + yaml.safe_dump({**own, **self.fields}, sort_keys=False)

    def preparing(self, tokenizer: str, positions: int) -> Recipe:
        """What `prepare` is told. positions: of the model, where the recipe does not say how long a row is."""
        fields = {name: copy.deepcopy(self.fields[name]) for name in OF_PREPARE if name in self.fields}
        rows = {"sequence_length": min(positions, _LONGEST_ROW), **(fields.get("rows") or {})}
        where = {"tokenizer": tokenizer, "output": f"{self.output}/dataset"}
        return make_recipe({**fields, "rows": rows, **where}, "the recipe")

    def training(self, init_from: str) -> RunSettings:
        """What `train` is told."""
        fields = {name: copy.deepcopy(self.fields[name]) for name in OF_TRAIN if name in self.fields}
        fields |= {"dataset": f"{self.output}/dataset", "directory": f"{self.output}/run", "init_from": init_from}
        fields["preset"] = f"{self.output}/preset"
        train = fields.get("train") or {}
        # Phases have their steps; `adapt` refuses them in its own words.
        if all(train.get(name) is None for name in (*LENGTHS, "phases")):
            fields["train"] = {**train, "epochs": self.epochs}
        return make_config(fields, "the recipe")


def load_adapt_recipe(path: str | None, changes: Sequence[str], given: Mapping[str, Any]) -> AdaptRecipe:
    """The recipe in the YAML file at `path`, with `changes` such as "train.steps=200" on top, and on those what was `given`:
    key -> value, None where it was not.

    Raises InputError naming the key for one that is unknown, missing or of another type, of `prepare` and `train` too.
    """
    fields, source = read_given(path)
    one_length(fields, changes)
    apply_changes(fields, changes)
    inputs = given.get("inputs")
    fields |= {name: value for name, value in given.items() if value is not None and name != "inputs"}
    if inputs is not None:
        fields["read"] = {**_section(fields, "read", source), "inputs": inputs}
    return make_adapt_recipe(fields, source)


def make_adapt_recipe(fields: dict[str, Any], source: str) -> AdaptRecipe:
    """The recipe that the keys of its file make; source: whose they are, in an error. See `load_adapt_recipe`."""
    for name in fields:
        known = (*OWN, *OF_PREPARE, *OF_TRAIN)
        if name not in known:
            shown = printable(name)
            raise InputError(
                f"every key of a recipe must be known, {source} has {shown}; {nearest_key(shown, [known], known)}"
            )
    for name, value in DEFAULTS.items():
        fields[name] = (
            {**value, **_section(fields, name, source)} if isinstance(value, dict) else fields.get(name, value)
        )
    own = {name: fields.pop(name, None) for name in OWN}
    for name in ("init_from", "output"):
        if not isinstance(own[name], str) or not own[name]:
            raise InputError(f"the key {name} is needed, {source} has {own[name]!r}; say it, or pass it to the command")
    check(
        "add_tokens must be a file", own["add_tokens"] is None or isinstance(own["add_tokens"], str), own["add_tokens"]
    )
    epochs = own["epochs"]
    is_number = isinstance(epochs, int | float) and not isinstance(epochs, bool)
    check("epochs must be a number above 0 and at most 1000", is_number and 0 < epochs <= 1000, epochs)
    recipe = AdaptRecipe(own["init_from"], own["output"].rstrip("/"), own["add_tokens"], float(epochs), fields)
    # What is wrong with either is said before anything begins.
    made = recipe.preparing("tokenizer", _LONGEST_ROW)
    check("rows of `adapt` have one length", len(made.rows.sequence_length) == 1, list(made.rows.sequence_length))
    phases = recipe.training(recipe.init_from).train.phases
    check("train.phases are for `clozekit train`, `adapt` makes one dataset", not phases, [one.steps for one in phases])
    return recipe


def _section(fields: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    section = fields.get(name)
    section = {} if section is None else section
    check(f"section {name!r} of {source} must be a mapping of keys to values", isinstance(section, dict), section)
    return dict(section)
