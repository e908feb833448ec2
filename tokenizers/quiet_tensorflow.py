"""TensorFlow, loaded without its start-up messages: imported before whatever else imports it."""

from clozekit.tokenizers.quiet_libraries import load_tensorflow

load_tensorflow()
