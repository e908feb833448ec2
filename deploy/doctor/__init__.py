"""`clozekit doctor`: what it looks at, on machines and of data."""
