"""The `clozekit` command, and what brings its parts to other machines."""
