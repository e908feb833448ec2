"""A vocabulary filled up inside a model: rows of the embedding that no text reaches and no softmax sees."""

from keras import ops

from clozekit.model.common.tensors import DType
from clozekit.model.families.family_table import family_of
from clozekit.model.tasks.masked_lm import MaskedLM

# The bias of a piece that is not there: its probability is exactly 0, and so is every gradient of its row.
CLOSED = -1e9


def padded_size(vocabulary_size: int, multiple: int) -> int:
    return -(-vocabulary_size // multiple) * multiple


def close_padding(task: MaskedLM, vocabulary_size: int) -> None:
    """Closes the rows behind `vocabulary_size` of a task that has more: they predict nothing and never change."""
    bias = task.masked_lm_head.parts().bias
    real = ops.arange(bias.shape[0]) < vocabulary_size
    for embeddings in task.token_tables():
        embeddings.assign(ops.where(real[:, None], embeddings, 0.0))
    bias.assign(ops.where(real, bias, CLOSED))


def with_vocabulary(task: MaskedLM, vocabulary_size: int, dtype: DType = "float32") -> MaskedLM:
    """The same task with rows cut off its vocabulary, or with closed ones behind it; its other weights are equal."""
    settings = {**task.backbone.settings(), "vocabulary_size": vocabulary_size}
    backbone = type(task.backbone)(**settings, dtype=dtype)
    kept = min(vocabulary_size, task.backbone.vocabulary_size)
    other = family_of(backbone).masked_lm(backbone, task.preprocessor, compile=False, **task.head_settings())
    for target, source in zip(other.weights, task.weights, strict=True):
        value = ops.convert_to_tensor(source)
        if target.shape != source.shape:
            fill = ops.zeros((max(0, vocabulary_size - kept), *value.shape[1:]), value.dtype)
            value = ops.concatenate([value[:kept], fill], axis=0)
        target.assign(value)
    close_padding(other, kept)
    backbone.has_loaded_pooler = task.backbone.has_loaded_pooler
    return other
