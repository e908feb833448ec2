"""The directory of a run: its lock, its log, its checkpoints, and which files there are its own."""
