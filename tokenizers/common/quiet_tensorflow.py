"""TensorFlow without its start-up messages, for modules that import it: this one comes first."""

from clozekit.tokenizers.common.quiet_libraries import load_tensorflow_quietly

load_tensorflow_quietly()
