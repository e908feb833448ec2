"""The families, one file each, and the table of their records."""
