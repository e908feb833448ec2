"""The kinds of fine-tuning, a file each: their data, rows, objective, measures and predictions."""
