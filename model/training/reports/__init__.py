"""Reports of runs: one HTML file each, which opens offline."""
