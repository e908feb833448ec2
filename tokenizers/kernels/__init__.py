"""The compiled inner loops and their tables: UTF-8 bytes and numbers in, ids out."""
