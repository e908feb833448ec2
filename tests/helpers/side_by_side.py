"""A model of transformers beside one of ours: random weights, the rows that both read, how far outputs may differ."""

from typing import Any

import keras
import numpy as np


def with_random_weights(model: Any, seed: int = 0) -> Any:
    """The model, its kernels, biases and norms away from what they begin with."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(1 + spread if "norm" in name.lower() and name.endswith("weight") else spread)
    return model.eval()


def rows_of(length: int, vocabulary_size: int) -> dict[str, np.ndarray]:
    """Three rows: full, padded and short."""
    dice = np.random.default_rng(7)
    mask = (np.arange(length) < np.array([length, 23, 3])[:, None]).astype(np.int32)
    ids = np.where(mask, dice.integers(2, vocabulary_size, (3, length)), 0).astype(np.int32)
    return {"token_ids": ids, "padding_mask": mask}


def theirs_of(model: Any, rows: dict[str, np.ndarray]) -> Any:
    """What a model of transformers makes of them."""
    import torch

    names = {"token_ids": "input_ids", "padding_mask": "attention_mask"}
    return model(**{theirs: torch.tensor(rows[ours].astype(np.int64)) for ours, theirs in names.items()})


def logits_of(task: Any, rows: dict[str, np.ndarray]) -> Any:
    """Those of one of our masked LMs at every position."""
    number, length = rows["token_ids"].shape
    everywhere = np.tile(np.arange(length, dtype=np.int32), (number, 1))
    return task.masked_logits({**rows, "mask_positions": everywhere})


def assert_close(ours: Any, theirs: Any, where: Any = ...) -> None:
    """Relative to the largest value: single ones may be near zero."""
    a, b = np.asarray(keras.ops.convert_to_numpy(ours))[where], theirs.detach().numpy()[where]
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()
