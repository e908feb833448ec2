"""The optimizers, a file each with its rule, and the class that applies a rule to the variables of a run."""
