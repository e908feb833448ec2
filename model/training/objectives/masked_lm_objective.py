"""The masked-LM objective: cross-entropy of the masked tokens; on the validation split also its perplexity.

Devlin et al. 2018 (arXiv 1810.04805, section 3.1, task 1).
"""

import math
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.model.training.objectives.objective import Batch, Objective, Sums


def masked_sums(task: MaskedLM, batch: Batch, training: bool) -> Sums:
    """The sums of a masked batch; unused slots have the weight 0 in mask_weights, float32 (B, M)."""
    loss, correct = task.masked_sums(batch, training=training)
    return Sums(loss, tf.reduce_sum(batch["mask_weights"]), correct)


OBJECTIVE = Objective(masked_sums)


class Evaluator:
    """Evaluates a task on the same masked batches each time.

    in_memory: read the batches now, once; otherwise they are read anew, which holds a large split one batch at a time.
    """

    def __init__(self, task: MaskedLM, batches: Iterable[Batch], xla: bool, in_memory: bool = True) -> None:
        self._task = task
        self._batches = list(batches) if in_memory else batches
        self._sums = tf.function(self._batch_sums, jit_compile=xla, autograph=False)

    def _batch_sums(self, batch: Batch) -> Sums:
        return masked_sums(self._task, batch, training=False)

    def run(self) -> dict[str, float]:
        """loss (nats a masked token), perplexity, accuracy (0 to 1), num_predictions; sums over sums, never a mean
        of means."""
        sums = [self._sums(batch) for batch in self._batches]
        loss, count, correct = (sum(float(part) for part in parts) for parts in zip(*sums, strict=True))
        return {
            "loss": loss / count,
            "perplexity": math.exp(min(loss / count, 700.0)),
            "accuracy": correct / count,
            "num_predictions": count,
        }

    def commonest_token_accuracy(self) -> tuple[int, float]:
        """The id that is most often right, and the accuracy of always guessing it."""
        counts: np.ndarray | int = 0
        for batch in self._batches:
            used = batch["mask_ids"].numpy()[batch["mask_weights"].numpy() > 0]
            counts = counts + np.bincount(used, minlength=self._task.backbone.vocabulary_size)
        counts = np.asarray(counts)
        return int(counts.argmax()), float(counts.max() / counts.sum())
