"""Streams: panes of documents that arrive, committed as fragments of a chain."""
