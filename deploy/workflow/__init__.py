"""Workflows: several commands in one recipe, run in order, skipped where nothing changed, elsewhere where it says so."""
