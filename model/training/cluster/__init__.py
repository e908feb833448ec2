"""The cluster of a run: which machines, which worker this is, the strategy over them."""
