"""What the log says of waiting for data is true on one core, on two, and on replicas: a slow reader, and a slow step."""

import pytest
from processes import ran

# Prints two shares: of a reader that takes far longer than a step, and of batches that are in memory.
PROGRAM = """
import os, sys, time
num_cores, num_replicas = map(int, sys.argv[1:])
# Before TensorFlow's runtime starts, which asks how many there are.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:num_cores]))
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)
from clozekit.model.common.prefetch import prefetch
from clozekit.model.training.architecture import from_scratch
from clozekit.model.training.build_task import build_task
from clozekit.model.training.controller import pretraining_step
from clozekit.model.training.optimizers.optimizer import Optimizer
from clozekit.model.training.settings.run_settings import ModelSettings, RunSettings, TrainSettings

ROWS, LENGTH, SLOTS, STEPS = 16, 64, 8, 4
token_ids = np.tile(np.arange(5, 5 + LENGTH, dtype=np.int32), (ROWS, 1))
slots = np.tile(np.arange(SLOTS, dtype=np.int32), (ROWS, 1))

def slow():
    time.sleep(float(seconds))
    return np.int32(0)

def batch(_, is_slow):
    # The reader is what is slow here: nothing waits for something else to happen.
    zero = tf.ensure_shape(tf.numpy_function(slow, [], tf.int32), []) if is_slow else 0
    values = {"token_ids": token_ids + zero, "padding_mask": np.ones_like(token_ids), "mask_positions": slots,
              "mask_ids": slots + 5, "mask_weights": np.ones_like(slots, np.float32)}
    return {name: tf.convert_to_tensor(value) for name, value in values.items()}

def batches(is_slow):
    dataset = prefetch(tf.data.Dataset.range(100).map(lambda number: batch(number, is_slow)))
    return iter(strategy.experimental_distribute_dataset(dataset))

strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(num_replicas)]) if num_replicas > 1 else tf.distribute.get_strategy()
model = ModelSettings(num_layers=2, num_heads=2, hidden_dim=64, intermediate_dim=256)
config = RunSettings("data", "run", model=model, train=TrainSettings(steps=100, global_batch_size=ROWS, xla=False))
with strategy.scope():
    task = build_task(config, from_scratch(config.model, 2000, LENGTH))
    step = pretraining_step(task, Optimizer(task.trainable_variables, config.optimizer, False), config, strategy)

def measured(rows):
    started = time.monotonic()
    result = step.run_loop(rows, tf.constant(0), tf.constant(STEPS))
    return float(result.wait_seconds), time.monotonic() - started

ready = batches(False)
measured(ready)
waited, alone = measured(ready)
# Ten times as long as the step.
seconds = 10 * alone / STEPS
slow_waited, slow_whole = measured(batches(True))
print(slow_waited / slow_whole, waited / alone)
"""


@pytest.mark.parametrize(("num_cores", "num_replicas"), [(1, 1), (1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_the_wait_for_data_is_true(num_cores: int, num_replicas: int) -> None:
    status, output = ran("-c", PROGRAM, str(num_cores), str(num_replicas))
    assert status == 0, output[-2000:]
    of_a_slow_reader, of_a_slow_step = map(float, output.split()[-2:])
    # True are ten parts of eleven, or all but what the step takes meanwhile, and nothing; but other processes may have the
    # cores in between. (A clock that was read behind the step said 0.99.)
    assert of_a_slow_reader > 0.8
    assert of_a_slow_step < 0.4
