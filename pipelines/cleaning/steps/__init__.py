"""The steps of cleaning, a file each: a step is called as its field of CleanSettings."""
