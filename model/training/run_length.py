"""How long a run is: epochs and tokens become steps, and steps are said in epochs and tokens."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from clozekit.model.training.settings.loop_settings import MAX_STEPS
from clozekit.model.training.settings.run_settings import RunSettings, TrainSettings
from clozekit.model.training.stages import Stage, ramp_sizes
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo, read_manifest
from clozekit.tokenizers.settings.settings_files import check


def in_steps(config: RunSettings) -> RunSettings:
    """The configuration with its length in steps, where it is given in epochs or tokens; one in hours stays as it is.

    Raises InputError where the dataset has no rows to train on, or for more steps than can be counted.
    """
    train = config.train
    if train.epochs is None and train.tokens is None:
        return config
    split = read_manifest(config.dataset).splits.get("train")
    if split is None:
        # Said where all datasets are looked at.
        return dataclasses.replace(config, train=dataclasses.replace(train, epochs=None, tokens=None))
    rows = train.epochs * split.rows if train.tokens is None else train.tokens * split.rows / split.tokens  # type: ignore[operator]
    steps = steps_for(rows, train)
    rule = f"train.{train.length} must be less than 2**31 steps, with {config.dataset}"
    check(rule, steps < MAX_STEPS, train.epochs or train.tokens)
    return dataclasses.replace(config, train=dataclasses.replace(train, steps=steps, epochs=None, tokens=None))


def steps_for(rows: float, train: TrainSettings) -> int:
    """The fewest steps that read so many rows, at least one; small batches come first where there is a batch ramp."""
    sizes = [(0, train.global_batch_size)]
    if train.batch_ramp is not None:
        sizes = ramp_sizes(train.batch_ramp, train.global_batch_size)
    for (begin, size), (end, _) in zip(sizes, sizes[1:], strict=False):
        if rows <= (end - begin) * size:
            return begin + max(1, math.ceil(rows / size))
        rows -= (end - begin) * size
    begin, size = sizes[-1]
    # 3 epochs of 10 rows are 30 rows, whatever 0.1 + 0.2 is.
    return max(1, begin + math.ceil(rows / size - 1e-9))


def describe_length(train: TrainSettings, stages: Sequence[Stage], manifests: Mapping[str, Manifest]) -> str:
    """In words: "20,000 steps = 3.2 epochs = 655M tokens"; of several datasets no epochs."""
    if train.hours is not None:
        return f"{train.hours:g} hours of training"
    rows: dict[str, int] = {}
    for stage in stages:
        size = (stage.end_step - stage.first_step) * stage.global_batch_size
        rows[stage.dataset] = rows.get(stage.dataset, 0) + size
    splits: dict[str, SplitInfo] = {name: manifests[name].splits["train"] for name in rows}
    tokens = sum(count * splits[name].tokens / splits[name].rows for name, count in rows.items())
    parts = [f"{train.last_step:,} steps"]
    if len(rows) == 1:
        ((name, count),) = rows.items()
        epochs = count / splits[name].rows
        parts.append(f"{epochs:,.1f} epochs" if epochs >= 0.1 else f"{epochs:.2g} epochs")
    return " = ".join([*parts, f"{short_count(tokens)} tokens"])


def short_count(number: float) -> str:
    """A number of things in at most three digits and a letter from a million on: 12,345, 655M, 1.31B."""
    if number < 999_500:
        return f"{number:,.0f}"
    for size, letter in ((1e6, "M"), (1e9, "B"), (1e12, "T")):
        if number < 999.5 * size or letter == "T":
            break
    return f"{number / size:,.{max(0, 2 - int(math.log10(number / size)))}f}{letter}"
