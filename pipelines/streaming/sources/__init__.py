"""Sources of streams: Beam unbounded sources whose records are documents as they are delivered."""
