"""From which length on attention goes through a row in chunks, and how large they are."""

# Rows up to here hold the scores of all tokens with all. At 1,024 chunks take half of the memory or less
# (BENCHMARKS.md), and more time where no window is.
LONGEST_IN_FULL = 512
# Queries of a chunk: the scores that are held at once grow with the length of the rows and not with its square.
CHUNK_QUERIES = 128
