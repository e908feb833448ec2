"""Presets in the layouts of KerasHub and Hugging Face: read, written, and where they may go."""
