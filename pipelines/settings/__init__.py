"""The settings of `prepare` and `vocab`, checked when they are made. No Beam."""
