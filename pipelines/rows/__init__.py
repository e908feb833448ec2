"""From documents to rows in shards: mixed, split, encoded, packed, planned, written, committed."""
