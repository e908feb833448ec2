"""What the format of a stream allows, in seconds: times up to the year 9999, windows of at most a hundred days."""

MAX_TIME = 253_402_300_800
MAX_WINDOW = 8_640_000
