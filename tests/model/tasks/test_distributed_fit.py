"""`fit` on two replicas takes what the preprocessors give. TensorFlow's devices are set before it starts: a process."""

from helper_folder import HELPERS
from processes import ran

SCRIPT = """
import sys

sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import small_families as families

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
preprocessor = families.masked_lm_preprocessor("bert", seed=1)
with strategy.scope():
    task = families.masked_lm("bert", preprocessor)
before = [np.asarray(variable) for variable in task.trainable_variables]
raw = task.fit(families.TEXTS, batch_size=4, verbose=0).history["loss"]
assert np.isfinite(raw[0]), raw
moved = [np.abs(np.asarray(new) - old).max() for new, old in zip(task.trainable_variables, before, strict=True)]
assert min(moved) > 0, moved
# What the preprocessor gives, without one.
x, y, sample_weight = preprocessor(families.TEXTS)
task.preprocessor = None
assert np.isfinite(task.fit(x, y, sample_weight=sample_weight, batch_size=4, verbose=0).history["loss"][0])
print("fitted")
"""


def test_fit_under_mirrored_strategy() -> None:
    status, output = ran("-c", SCRIPT, str(HELPERS))
    assert status == 0, output[-3000:]
    assert output.split()[-1] == "fitted"
