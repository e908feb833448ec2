"""Presets from directories, URLs, Kaggle and Hugging Face: fetched, checked against their sums, and uploaded."""
