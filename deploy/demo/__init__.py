"""`clozekit demo`: its corpus and its run."""
