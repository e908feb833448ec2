"""What every stage runs on: batches, blocks, dead letters, runners, progress."""
