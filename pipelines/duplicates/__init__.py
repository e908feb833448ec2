"""Duplicates and contamination: exact, near, and against evaluation texts."""
