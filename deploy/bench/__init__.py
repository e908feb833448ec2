"""`clozekit bench`: the speed of each part on this machine beside the reference machine's."""
