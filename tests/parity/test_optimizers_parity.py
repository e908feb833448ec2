"""Our optimizers beside PyTorch's of the same names, over several steps from the same weights and gradients."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.settings.loop_settings import OptimizerSettings

RATE, DECAY = 0.02, 0.1
SHAPES = ((6, 4), (4, 9))
# Ours -> PyTorch's with the same numbers.
PEERS: dict[str, Callable[[list[Any]], Any]] = {
    "adamw": lambda p: torch.optim.AdamW(p, RATE, betas=(0.9, 0.98), eps=1e-6, weight_decay=DECAY),
    "adafactor": lambda p: torch.optim.Adafactor(p, RATE, beta2_decay=-0.8, eps=(1e-30, 1e-3), weight_decay=DECAY),
    "muon": lambda p: torch.optim.Muon(
        p, RATE, weight_decay=DECAY, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    ),
}
# PyTorch's Muon multiplies in bfloat16, and its Adafactor has a relative step of at most the rate (1 / sqrt(steps)).
TOLERANCES = {"adamw": 1e-5, "adafactor": 1e-5, "muon": 0.02}


@pytest.mark.parametrize("name", sorted(PEERS))
def test_an_optimizer_changes_weights_as_pytorchs_does(name: str) -> None:
    dice = np.random.default_rng(0)
    start = [dice.normal(size=shape).astype("float32") for shape in SHAPES]
    gradients = [[dice.normal(size=shape).astype("float32") for shape in SHAPES] for _ in range(6)]
    variables = []
    for number, value in enumerate(start):
        with keras.name_scope(f"transformer_layer_{number}"), keras.name_scope("dense"):
            variables.append(keras.Variable(value, name="kernel", dtype="float32"))
    ours = Optimizer(variables, OptimizerSettings(name, weight_decay=DECAY, clip_norm=1e9), xla=False)
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    theirs = PEERS[name](parameters)
    for step in gradients:
        ours.apply([tf.constant(gradient) for gradient in step], tf.constant(RATE))
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        theirs.step()
    for variable, parameter, value in zip(variables, parameters, start, strict=True):
        moved = parameter.detach().numpy() - value
        assert np.abs(np.asarray(variable) - value - moved).max() <= TOLERANCES[name] * np.abs(moved).max()
