"""Masking inside the tf.data graph, and the rule that says what is masked."""
