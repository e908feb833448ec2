"""How far the predictions of two masked LMs are apart, without ever holding all logits at once."""

import math

from keras import ops

from clozekit.model.common.one_at_a_time import one_at_a_time
from clozekit.model.common.tensors import Tensor
from clozekit.model.layers.masked_lm_head import CHUNK_LOGITS, Gradients

# Hidden states (N, E), embedding of the vocabulary (V, E) and bias (V,), as `MaskedLMHead.factors` gives them.
Factors = tuple[Tensor, Tensor, Tensor]
# The sum so far, and the gradients: of the hidden states, the embedding and the bias.
_State = tuple[Tensor, Tensor, Tensor, Tensor]


def chunked_divergence(student: Factors, teacher: Factors, weights: Tensor, temperature: float) -> Tensor:
    """The KL divergence KL(teacher || student) of the softened predictions of N positions, times the square of the temperature,
    weighted and summed: a float32 scalar, differentiable in what the student's predictions are made of.

    student, teacher: of one vocabulary V; their widths E may differ. weights: float32 (N,). The gradients are made in the same
    pass: that of a student's logit is temperature x (its probability - the teacher's), Hinton et al. 2015 (arXiv 1503.02531),
    section 2.1.
    """
    hidden, embedding, bias = student
    taught, taught_embedding, taught_bias = teacher
    num_positions, vocabulary_size = hidden.shape[0], embedding.shape[0]
    chunk = max(1, min(num_positions, CHUNK_LOGITS // vocabulary_size))
    num_chunks = math.ceil(num_positions / chunk)
    missing = num_chunks * chunk - num_positions
    weights, taught = ops.pad(weights, [[0, missing]]), ops.pad(taught, [[0, missing], [0, 0]])

    def softened(part: Tensor, table: Tensor, shift: Tensor) -> Tensor:
        return ops.log_softmax((ops.cast(ops.matmul(part, ops.transpose(table)), "float32") + shift) / temperature)

    @ops.custom_gradient
    def divergence(hidden: Tensor, embedding: Tensor, bias: Tensor) -> tuple[Tensor, Gradients]:
        padded = ops.pad(hidden, [[0, missing], [0, 0]])

        def one_chunk(index: Tensor, state: _State) -> _State:
            total, d_hidden, d_embedding, d_bias = state
            start = index * chunk
            part, weight = (
                ops.slice(padded, (start, 0), (chunk, padded.shape[1])),
                ops.slice(weights, (start,), (chunk,)),
            )
            students = softened(part, embedding, bias)
            teachers = softened(ops.slice(taught, (start, 0), (chunk, taught.shape[1])), taught_embedding, taught_bias)
            apart = ops.sum(ops.exp(teachers) * ops.subtract(teachers, students), axis=-1)
            d_logits = temperature * (ops.exp(students) - ops.exp(teachers)) * weight[:, None]
            narrow = ops.cast(d_logits, hidden.dtype)
            return (
                total + temperature**2 * ops.sum(apart * weight),
                ops.slice_update(d_hidden, (start, 0), ops.matmul(narrow, embedding)),
                d_embedding + ops.cast(ops.matmul(ops.transpose(narrow), part), "float32"),
                d_bias + ops.sum(d_logits, axis=0),
            )

        start = (
            ops.zeros((), "float32"),
            ops.zeros_like(padded),
            ops.zeros(embedding.shape, "float32"),
            ops.zeros((vocabulary_size,), "float32"),
        )
        total, d_hidden, d_embedding, d_bias = one_at_a_time(num_chunks, one_chunk, start)

        def gradients(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
            scale = arguments[-1] if upstream is None else upstream
            return (
                ops.cast(scale, hidden.dtype) * d_hidden[:num_positions],
                ops.cast(scale * d_embedding, embedding.dtype),
                scale * d_bias,
            )

        return total, gradients

    return divergence(hidden, embedding, bias)
