"""Sweeps: trials of a recipe that run side by side, those that lose stopped, what comes behind for the best alone."""
