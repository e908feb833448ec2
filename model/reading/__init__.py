"""The reader of a dataset: its shards, the order of its rows, batches ready for the model."""
