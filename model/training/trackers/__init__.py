"""Where a run's numbers go besides its own log, a file each: callbacks that the configuration names in `log.trackers`."""
