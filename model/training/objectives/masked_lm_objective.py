"""The masked-LM objective: cross-entropy of the masked tokens; on the validation split also its perplexity.

Devlin et al. 2018 (arXiv 1810.04805, section 3.1, task 1). Learned from a teacher are its predictions of the masked tokens: Sanh et
al. 2019 (arXiv 1910.01108), section 2.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from clozekit.model.common.perplexity import perplexity
from clozekit.model.layers.chunked_divergence import chunked_divergence
from clozekit.model.tasks.masked_lm import MaskedLM, MaskedOutputs
from clozekit.model.training.objectives.distillation import class_divergence
from clozekit.model.training.objectives.objective import Batch, Objective, Sums
from clozekit.model.training.objectives.ranks import area_under_curve


def masked_outputs(task: MaskedLM, batch: Batch, training: bool) -> MaskedOutputs:
    """What a task makes of a masked batch."""
    return task.masked_outputs(batch, training)


def outputs_sums(outputs: MaskedOutputs, batch: Batch) -> Sums:
    """The sums of a masked batch; unused slots have the weight 0 in mask_weights, float32 (B, M)."""
    loss, correct = outputs.sums(batch)
    return Sums(loss, tf.reduce_sum(batch["mask_weights"]), correct)


def masked_divergence(student: MaskedOutputs, teacher: MaskedOutputs, batch: Batch, temperature: float) -> tf.Tensor:
    """How far a student's predictions of the masked tokens are from a teacher's, summed.

    The teacher has the pieces of the tokenizer; what a student has behind them fills its vocabulary up and predicts nothing.
    """
    num_pieces = teacher.head.vocabulary_size
    if student.logits is not None and teacher.logits is not None:
        apart = class_divergence(student.logits[:, :, :num_pieces], teacher.logits, temperature)
        return tf.reduce_sum(apart * batch["mask_weights"])
    (hidden, embedding, bias), theirs = (
        one.head.factors(one.hidden, batch["mask_positions"]) for one in (student, teacher)
    )
    weights = tf.reshape(batch["mask_weights"], [-1])
    return chunked_divergence((hidden, embedding[:num_pieces], bias[:num_pieces]), theirs, weights, temperature)


OBJECTIVE = Objective(masked_outputs, outputs_sums, distillation=masked_divergence)


class Evaluator:
    """Evaluates a task on the same masked batches each time.

    in_memory: read the batches now, once; otherwise they are read anew, which holds a large split one batch at a time. objective:
    another that has masked tokens, whose second prediction is measured too.
    """

    def __init__(
        self,
        task: MaskedLM,
        batches: Iterable[Batch],
        xla: bool,
        in_memory: bool = True,
        objective: Objective = OBJECTIVE,
    ) -> None:
        self._task = task
        self._objective = objective
        self._batches = list(batches) if in_memory else batches
        self._sums = tf.function(self._batch_sums, jit_compile=xla, autograph=False)

    def _batch_sums(self, batch: Batch) -> tuple[Sums, tf.Tensor | None]:
        outputs, second = self._objective.outputs(self._task, batch, False), self._objective.second
        ranked = None if second is None or second.ranked is None else second.ranked(outputs, batch)
        return self._objective.of_outputs(outputs, batch), ranked

    def run(self, batches: Iterable[Batch] | None = None) -> dict[str, float]:
        """loss (nats a masked token), perplexity, accuracy (0 to 1), num_predictions, and of a second prediction NAME_loss,
        NAME_accuracy and num_NAMEs, and NAME_auc where it is ranked; sums over sums, never a mean of means. On other batches of
        the same shapes where they are given."""
        both = [self._sums(batch) for batch in (self._batches if batches is None else batches)]
        each = [sums for sums, _ in both]
        sums = Sums(*(sum(float(part) for part in parts) for parts in zip(*each, strict=True)))
        second = self._objective.second
        return {
            "loss": sums.loss / sums.count,
            "perplexity": perplexity(sums.loss / sums.count),
            "accuracy": sums.correct / sums.count,
            "num_predictions": sums.count,
            **({} if second is None else {f"num_{second.name}s": sums.second_count}),
            **{
                name: value
                for name, value in self._objective.measures(sums).items()
                if name not in ("loss", "accuracy")
            },
            **self._areas([ranked.numpy() for _, ranked in both if ranked is not None]),
        }

    def _areas(self, ranked: list[np.ndarray]) -> dict[str, float]:
        second = self._objective.second
        if second is None or not ranked:
            return {}
        return {f"{second.name}_auc": area_under_curve(np.sum(ranked, axis=0))}

    def commonest_token_accuracy(self) -> tuple[int, float]:
        """The id that is most often right, and the accuracy of always guessing it."""
        counts: np.ndarray | int = 0
        for batch in self._batches:
            used = batch["mask_ids"].numpy()[batch["mask_weights"].numpy() > 0]
            counts = counts + np.bincount(used, minlength=self._task.backbone.vocabulary_size)
        counts = np.asarray(counts)
        return int(counts.argmax()), float(counts.max() / counts.sum())
