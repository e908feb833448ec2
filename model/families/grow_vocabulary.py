"""A masked LM and its tokenizer with more tokens: each begins as the mean of the pieces that its text had before."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from keras import ops

from clozekit.model.families.family_table import family_of
from clozekit.model.tasks.masked_lm import MaskedLM
from clozekit.tokenizers.common.errors import InputError
from clozekit.tokenizers.formats.added_tokens import AddedToken
from clozekit.tokenizers.tokenizer import ASSETS_FOLDER


def with_added_tokens(task: MaskedLM, texts: Sequence[str]) -> MaskedLM:
    """A copy of a masked LM whose tokenizer has each of the texts as one token, found as a whole word in normalized text.

    The embedding and the bias of a new token are the mean of those of the pieces that the text was cut into: the model begins
    with what it knew of them. Texts that are pieces already are left as they are.

    Args:
        task: with a preprocessor.
        texts: the tokens as they are written; what a tokenizer does to texts (lower case, accents) is done to them too.

    Returns:
        The task in float32, not compiled; its vocabulary is larger where there are no unused rows behind the pieces.

    Raises:
        InputError: for a task without a preprocessor, and a text that is no token: empty, with white space, too long.

    Source: Gee et al. 2022 (arXiv 2402.09977), section 3, "Fast Vocabulary Transfer".

    Example:

        >>> from clozekit.model.families.grow_vocabulary import with_added_tokens
        >>> task = models.MaskedLM.from_preset("tiny/preset", compile=False)
        >>> more = with_added_tokens(task, ["foxtrot"])
        >>> more.backbone.vocabulary_size - task.backbone.vocabulary_size
        1
        >>> more.preprocessor.tokenizer.detokenize(more.preprocessor.tokenizer.tokenize("the foxtrot"))
        'the foxtrot'
    """
    if task.preprocessor is None:
        raise InputError(
            "tokens are added to a tokenizer, this task has none (preprocessor=None); load it with its own"
        )
    tokenizer = task.preprocessor.tokenizer
    for text in texts:
        if not text or text.split() != [text]:
            raise InputError(f"an added token must be a text without white space, got {text!r:.80}; correct it")
    known = set(tokenizer.get_vocabulary())
    new = [AddedToken(text, single_word=True, normalized=True) for text in dict.fromkeys(texts) if text not in known]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        added = {"added_tokens": [*tokenizer.added_tokens, *new]}
        grown = type(tokenizer).from_assets(Path(folder) / ASSETS_FOLDER, tokenizer.get_config(), added)
    backbone, before = task.backbone, tokenizer.vocabulary_size()
    size = max(backbone.vocabulary_size, grown.vocabulary_size())
    larger = type(backbone)(**{**backbone.settings(), "vocabulary_size": size}, dtype="float32")
    larger.has_loaded_pooler = backbone.has_loaded_pooler
    preprocessor = type(task.preprocessor)(
        grown, **{**task.preprocessor.keras_hub_config(), **task.preprocessor.own_options()}
    )
    other = family_of(larger).masked_lm(larger, preprocessor, compile=False, **task.head_settings())
    pieces = [tokenizer.encode_batch([token.content]).token_ids for token in new]
    of_vocabulary = [*other.token_tables(), other.masked_lm_head.parts().bias]
    for target, source in zip(other.weights, task.weights, strict=True):
        value = np.asarray(ops.convert_to_numpy(source), np.float32)
        # Only what has a row for each piece: the embeddings and the bias.
        if any(target is one for one in of_vocabulary):
            means = [value[ids].mean(axis=0) if len(ids) else value[:before].mean(axis=0) for ids in pieces]
            value = np.concatenate([value[:before], np.stack(means), value[before + len(new) :]]) if new else value
        target.assign(value)
    return other
