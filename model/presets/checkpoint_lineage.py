"""The links of a run and of one of its checkpoints, and the hash by which a run is known."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clozekit.model.common.array_hash import arrays_sha256
from clozekit.model.presets.lineage import Lineage, linked
from clozekit.tokenizers.settings.sealed_json import sha256_of_fields

if TYPE_CHECKING:
    # TensorFlow comes with it.
    from clozekit.model.training.run_directory.checkpoints import Position

# Of what a run's checkpoints say of it: where it began, which are places here and have links of their own; and what it read.
_PLACES = ("init_from", "replaced.generator")
_READ = ("dataset_sha256", "teacher_sha256")


def run_sha256(identity: Mapping[str, Any]) -> str:
    """Of a run's settings and of the data that it read. identity: what its checkpoints say of it."""
    return sha256_of_fields({key: value for key, value in identity.items() if key not in _PLACES})


def recipe_sha256(identity: Mapping[str, Any]) -> str:
    """Of the settings alone: two runs of one recipe on other data have the same."""
    return sha256_of_fields({key: value for key, value in identity.items() if key not in (*_PLACES, *_READ)})


def checkpoint_lineage(run: Lineage | None, position: "Position", weights: Mapping[str, np.ndarray]) -> Lineage:
    """The lineage of a checkpoint, or of the same state in memory.

    run: None where the run does not say what it came from. weights: every weight of the model by its path, the running averages
    where the run keeps them.
    """
    heads = [{"number": head.number, "sha256": head.sha256, "step": head.step} for head in position.heads]
    fields = {
        "step": position.global_step,
        "rows": position.next_row,
        "tokens": position.tokens_seen,
        "weights_sha256": arrays_sha256(weights),
        "heads": heads or None,
    }
    return linked("checkpoint", fields, {} if run is None else {"run": [run]})
