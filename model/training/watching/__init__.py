"""Who is told of a run while it trains: callbacks of the user's own, and trackers, a file each (`log.trackers`)."""
