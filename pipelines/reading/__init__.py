"""Reading a corpus: which files there are, how each format is cut into documents."""
