"""Settings and descriptions from YAML and JSON files that somebody else may have written, checked on reading."""
