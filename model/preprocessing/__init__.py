"""Raw strings to rows of ids: the preprocessors, in eager mode and in tf.data alike."""
