"""The tokenizers of the families, one file each, and loading one whoever wrote it."""
