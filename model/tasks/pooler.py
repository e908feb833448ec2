"""Whether a backbone has a pooler to hand over: one that no loss has reached is nobody's, and is left out."""

import numpy as np
from keras import ops

from clozekit.model.tasks.backbone import Backbone


def has_pooler(backbone: Backbone) -> bool:
    """Whether the family has a pooler, and this one came with a checkpoint or was trained.

    A masked LM never trains its pooler. A fresh one has biases of exactly zero, which the first step of a classifier ends.
    """
    has_one = backbone.has_used_pooler and hasattr(backbone, "pooled_dense")
    return has_one and (backbone.has_loaded_pooler or is_trained(backbone))


def is_trained(backbone: Backbone) -> bool:
    """Whether the biases of the pooler say that it is not as it began."""
    return bool(np.any(ops.convert_to_numpy(backbone.pooled_dense.bias)))
