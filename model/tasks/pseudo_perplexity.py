"""Pseudo-perplexity: how surprised a masked LM is by a text (Salazar et al. 2020, arXiv 1910.14659, section 2.1)."""

from collections.abc import Sequence

import numpy as np

from clozekit.model.common.perplexity import perplexity
from clozekit.model.layers.masked_lm_head import MAX_LOGITS
from clozekit.model.tasks.fill_mask import encode_texts, masked_logits, tokenizer_of
from clozekit.model.tasks.task import Task
from clozekit.tokenizers.common.errors import InputError

_MAX_ROWS = 32


def pseudo_perplexities(task: Task, texts: Sequence[str]) -> list[float]:
    """For each text exp(-mean log P(token | all others)), every token masked once; lower is less surprised.

    One forward pass a token. Raises InputError for a text without tokens or longer than the model's positions.
    """
    tokenizer = tokenizer_of(task)
    mask_id = tokenizer.token_to_id(tokenizer.special_token_names["mask_token"])
    batch_rows = max(1, min(_MAX_ROWS, MAX_LOGITS // (4 * task.backbone.vocabulary_size)))
    perplexities = []
    for text, ids in zip(texts, encode_texts(texts, tokenizer, task.backbone.max_sequence_length), strict=True):
        places = np.arange(1, len(ids) - 1)
        if not len(places):
            raise InputError(f"a text must hold at least one token to have a perplexity, got {text!r}")
        total = 0.0
        for start in range(0, len(places), batch_rows):
            part = places[start : start + batch_rows]
            rows = np.repeat(ids[None], len(part), axis=0)
            rows[np.arange(len(part)), part] = mask_id
            logits = masked_logits(task, tokenizer, list(rows), list(part[:, None]))[:, 0].astype(np.float64)
            highest = logits.max(axis=1)
            log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
            total += float((logits[np.arange(len(part)), ids[part]] - log_sum).sum())
        perplexities.append(perplexity(-total / len(places)))
    return perplexities
