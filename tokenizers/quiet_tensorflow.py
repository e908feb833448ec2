"""TensorFlow without its start-up messages, for modules that import it: this one comes first."""

from clozekit.tokenizers.quiet_libraries import load_tensorflow_quietly

load_tensorflow_quietly()
