"""`clozekit adapt`: its recipe and its steps."""
