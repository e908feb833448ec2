"""Numbers that rows keep to, for settings too: this file imports nothing."""

# No second segment: the document was a single token.
NO_PAIR = -1
# Attention over such a row is far beyond any model of these families; a group of rows is still packed in memory.
MAX_SEQUENCE_LENGTH = 2**17
